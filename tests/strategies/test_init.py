import pytest
from pydantic import TypeAdapter

from xmr_ray.strategies import SeedStrategy


@pytest.mark.parametrize("kind", ["typical", "random"])
def test_seed_strategies_load_by_kind(kind):
    assert TypeAdapter(SeedStrategy).validate_python({"kind": kind}).kind == kind


def test_typical_refuses_an_empty_candidate_set():
    with pytest.raises(ValueError, match="candidates"):
        TypeAdapter(SeedStrategy).validate_python({"kind": "typical", "candidates": 0})
