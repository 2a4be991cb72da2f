import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from xmr_ray.geometry.auto import AnyNeighbours, Auto, choose_backend
from xmr_ray.geometry.hnsw import Hnsw
from xmr_ray.geometry.neighbours import Exact


def test_a_kind_picks_its_class():
    adapter = TypeAdapter(AnyNeighbours)
    for kind, expected in (("exact", Exact), ("hnsw", Hnsw), ("auto", Auto)):
        assert isinstance(adapter.validate_python({"kind": kind}), expected)
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "annoy"})


def test_auto_is_a_threshold_and_a_fixed_backend_is_itself():
    assert choose_backend(Auto(), 40_000) == Exact()
    assert choose_backend(Auto(hnsw=Hnsw(m=8)), 40_001) == Hnsw(m=8)
    assert choose_backend(Hnsw(), 3) == Hnsw()
    assert choose_backend(Exact(), 10**9) == Exact()


@pytest.mark.parametrize("limit", [0, 1000])
def test_both_sides_of_the_threshold_find_the_same_on_an_easy_set(limit):
    points = np.random.default_rng(0).normal(size=(200, 3))
    found = Auto(exact_up_to=limit, hnsw=Hnsw(ef=200)).search(points, points, k=4, own_rows_Q=np.arange(200))
    assert found.ids_QK.tolist() == Exact().search(points, points, k=4, own_rows_Q=np.arange(200)).ids_QK.tolist()
