"""Components are frozen, refuse what they do not know, and are picked by their kind."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from xmr_ray.component import Component, Settings


class Cube(Component):
    kind: Literal["cube"] = "cube"
    side: int = Field(default=1, gt=0)

    def volume(self):
        return self.side**3


class Ball(Component):
    kind: Literal["ball"] = "ball"
    radius: float = 1.0


SOLID = TypeAdapter(Annotated[Cube | Ball, Field(discriminator="kind")])


def test_kind_picks_the_class_and_the_settings_do_the_work():
    solid = SOLID.validate_python({"kind": "cube", "side": 3})
    assert isinstance(solid, Cube)
    assert solid.volume() == 27
    assert SOLID.validate_python(solid.model_dump()) == solid


@pytest.mark.parametrize(
    "wrong", [{"kind": "cone"}, {"side": 3}, {"kind": "cube", "sides": 3}, {"kind": "cube", "side": 0}, {"kind": "ball", "side": 1}]
)
def test_unknown_kinds_keys_and_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        SOLID.validate_python(wrong)


def test_frozen_and_hashable():
    cube = Cube(side=2)
    with pytest.raises(ValidationError, match="frozen"):
        cube.side = 3
    assert {cube: "two"}[Cube(side=2)] == "two"


def test_defaults_are_validated_too():
    class Wrong(Settings):
        side: int = Field(default=-1, gt=0)

    with pytest.raises(ValidationError, match="greater than 0"):
        Wrong()


def test_a_component_must_have_a_kind():
    class Nameless(Component):
        side: int = 1

    with pytest.raises(ValidationError, match="kind"):
        Nameless()
