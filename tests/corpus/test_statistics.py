import json

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


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 1000))
def test_moments_of_parts_merge_to_those_of_the_whole_and_survive_json(sizes, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(3, 2, (sum(sizes), 4)).astype(np.float32)
    merged, start = Moments(4), 0
    for size in sizes:
        part = Moments(4)
        part.add(rows[start : start + size])
        merged.merge(Moments.from_json(json.loads(json.dumps(part.to_json()))))
        start += size
    if len(rows):
        np.testing.assert_allclose(merged.mean(), rows.astype(np.float64).mean(0), rtol=1e-6)
    if len(rows) > 1:
        np.testing.assert_allclose(merged.std(), rows.astype(np.float64).std(0), rtol=1e-5)


def test_one_part_merged_into_nothing_is_itself_to_the_last_bit():
    part, merged = Moments(3), Moments(3)
    part.add(np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32))
    merged.merge(part)
    assert merged.to_json() == part.to_json()
