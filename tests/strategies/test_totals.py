from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.errors import StrategyError
from xmr_ray.strategies.totals import (
    count_keys,
    count_of,
    fixed_point,
    mean_of,
    merge_counts,
    rank_keys,
    rank_of,
    spread_of,
    sum_by_cell,
)

numbers = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30)


@given(values=numbers)
def test_fixed_point_is_the_number_cut_at_2_to_the_minus_64(values):
    for value, limbs in zip(values, fixed_point(np.array(values)).tolist(), strict=True):
        exact = sum(Fraction(limb) * Fraction(2) ** (32 - 32 * at) for at, limb in enumerate(limbs))
        assert abs(exact) <= abs(Fraction(value))
        assert abs(exact - Fraction(value)) < Fraction(1, 2**64)


@given(values=numbers, cut=st.integers(0, 30))
def test_sums_add_up_exactly_however_they_are_cut(values, cut):
    array = np.array(values)
    cells = np.arange(len(array)) % 3
    whole = sum_by_cell(array, cells, num_cells=3)
    parts = [sum_by_cell(array[rows], cells[rows], num_cells=3) for rows in (slice(None, cut), slice(cut, None))]
    assert np.array_equal(parts[0] + parts[1], whole)
    exact = sum(map(Fraction, values)) / len(values)
    assert mean_of(whole.sum(axis=0), len(values)) == pytest.approx(float(exact), rel=1e-15, abs=1e-18)


@given(offset=st.floats(-1e4, 1e4), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_spread_is_that_of_numpy(offset, scale, seed):
    values = offset + scale * np.random.default_rng(seed).normal(size=50)
    spread = spread_of(fixed_point(values).sum(axis=0), fixed_point(values**2).sum(axis=0), 50)
    assert spread == pytest.approx(values.std(), rel=1e-2 if abs(offset) > 1e5 * scale else 1e-6)


@given(value=st.floats(-1e6, 1e6), count=st.integers(1, 40))
def test_a_constant_has_no_spread(value, count):
    values = np.full(count, value)
    assert spread_of(fixed_point(values).sum(axis=0), fixed_point(values**2).sum(axis=0), count) == 0


def test_tiny_values_keep_their_spread():
    values = 1e-3 + 1e-6 * np.random.default_rng(0).normal(size=1000)
    assert spread_of(fixed_point(values).sum(axis=0), fixed_point(values**2).sum(axis=0), 1000) == pytest.approx(values.std(), rel=1e-4)


def test_no_terms_and_too_large_ones():
    assert mean_of(np.zeros(4, np.int64), 0) == spread_of(np.zeros(4, np.int64), np.zeros(4, np.int64), 0) == 0
    with pytest.raises(StrategyError, match=r"1e\+20 is too large"):
        fixed_point(np.array([1.0, -1e20]))


@given(keys=st.lists(st.integers(-4, 4), max_size=40), cut=st.integers(0, 40))
def test_counts_merge_to_the_counts_of_all(keys, cut):
    array = np.array(keys, np.int64)
    merged = merge_counts([count_keys(array[:cut]), count_keys(array[cut:])])
    assert dict(merged.tolist()) == {key: keys.count(key) for key in keys}
    assert np.array_equal(merged, count_keys(array))
    assert count_of(merged, np.arange(-6, 7)).tolist() == [keys.count(key) for key in range(-6, 7)]


def test_counts_of_nothing():
    assert merge_counts([]).shape == (0, 2)
    assert count_of(merge_counts([]), np.array([3])).tolist() == [0]
    assert rank_of(merge_counts([]), np.array([3])).tolist() == [0.0]


@given(values=st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=30))
def test_rank_keys_keep_the_order_and_tell_apart_what_differs_by_a_thousandth(values):
    keys = rank_keys(np.array(values)).tolist()
    for a, key_a in zip(values, keys, strict=True):
        for b, key_b in zip(values, keys, strict=True):
            if a < b:
                assert key_a <= key_b
            if abs(a - b) > 1e-3 * max(abs(a), abs(b), 1e-300):  # subnormal numbers have fewer bits
                assert key_a != key_b
    assert rank_keys(np.array([0.0]))[0] == rank_keys(np.array([-0.0]))[0]


def test_rank_is_the_share_of_values_below_ties_counted_half():
    values = np.array([5.0, -2.0, 0.0, 5.0, 1e-9, 7.5])
    slow = [(sum(w < v for w in values) + 0.5 * sum(w == v for w in values)) / 6 for v in values]
    assert rank_of(count_keys(rank_keys(values)), rank_keys(values)) == pytest.approx(slow)
