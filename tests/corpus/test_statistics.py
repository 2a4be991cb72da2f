import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.corpus.statistics import Moments, from_bytes, to_bytes
from xmr_ray.errors import CorpusError
from xmr_ray.types import FeatureStatistics


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 99))
def test_pieces_give_mean_and_deviation_of_the_whole(sizes, seed):
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(1000.0, 0.5, size=(size, 3)).astype(np.float32) for size in [*sizes, 2]]
    moments = Moments(3)
    for piece in pieces:
        moments.add(piece)
    whole = np.concatenate(pieces).astype(np.float64)
    np.testing.assert_allclose(moments.mean(), whole.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(moments.std(), whole.std(axis=0), rtol=1e-5)


def test_constant_dimension_has_deviation_one():
    moments = Moments(2)
    moments.add(np.array([[0.1, 1.0]] * 7, dtype=np.float32))
    moments.add(np.array([[0.1, 2.0]] * 7, dtype=np.float32))
    assert moments.std().tolist() == [1.0, 0.5]


def test_nothing_gives_zero_and_one():
    assert Moments(1).mean().tolist() == [0.0]
    assert Moments(1).std().tolist() == [1.0]


def test_bytes_are_equal_and_come_back():
    statistics = FeatureStatistics(*(np.full(2, value, dtype=np.float32) for value in (1, 2, 3, 4)))
    assert to_bytes(statistics) == to_bytes(statistics)
    back = from_bytes(to_bytes(statistics), path="x")
    assert [back.image_mean_I[0], back.image_std_I[0], back.text_mean_T[0], back.text_std_T[0]] == [1, 2, 3, 4]


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04nonsense", b"text"])
def test_other_bytes_name_the_path(data):
    with pytest.raises(CorpusError, match=r"^here\.npz: not a statistics file"):
        from_bytes(data, path="here.npz")
