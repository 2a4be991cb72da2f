import pytest
from pydantic import ValidationError

from xmr_ray.tuning.dimensions import Choice, Integer
from xmr_ray.tuning.settings import TuneSettings


def test_the_kind_tells_what_a_dimension_is():
    space = TuneSettings(space={"a.b": {"kind": "int", "low": 1, "high": 3}, "c": {"kind": "choice", "values": [1, 2]}}).space
    assert (type(space["a.b"]), type(space["c"])) == (Integer, Choice)


@pytest.mark.parametrize("space", [{}, {"a..b": {"kind": "choice", "values": [1, 2]}}, {"a": {"kind": "beta"}}])
def test_an_empty_space_a_broken_path_and_an_unknown_kind_are_refused(space):
    with pytest.raises(ValidationError):
        TuneSettings(space=space)


def test_every_field_is_described():
    assert [name for name, info in TuneSettings.model_fields.items() if not info.description] == []
