"""What `explain` says is tested through configurations in `test_config.py`; here that the root may be any model."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from xmr_ray.component import Component, Settings
from xmr_ray.explain import explain


class Near(Component):
    kind: Literal["near"] = "near"
    distance: int = 1


class Far(Component):
    kind: Literal["far"] = "far"
    depth: int = 1


class Root(Settings):
    place: Annotated[Near | Far, Field(discriminator="kind")] = Near()
    count: int = 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"cuont": 1}, "unknown key 'cuont', did you mean count?"),
        ({"zzz": 1}, "unknown key 'zzz'; known here: count, place"),
        ({"place": {"kind": "far", "dept": 2}}, "unknown key 'place.far.dept', did you mean depth?"),
        ({"count": "many"}, "count is 'many': Input should be a valid integer"),
    ],
)
def test_what_was_refused_is_told_with_its_path_and_the_nearest_names(content, message):
    with pytest.raises(ValidationError) as refused:
        Root.model_validate(content)
    assert explain(refused.value, Root).startswith(message)


def test_everything_that_is_wrong_is_told():
    with pytest.raises(ValidationError) as refused:
        Root.model_validate({"count": "many", "cuont": 1})
    assert explain(refused.value, Root).count("; ") == 1
