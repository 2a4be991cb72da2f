import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.errors import StrategyError
from xmr_ray.geometry.hashing import derive_key, hash_fraction, hash_sample, tie_hash, unit_hash


def splitmix64(state: int) -> int:
    """The published finaliser, in Python's integers."""
    mask = 2**64 - 1
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
    return state ^ (state >> 31)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), st.integers(0, 2**70), st.integers(0, 99))
def test_is_splitmix64_of_the_key_and_the_id(ids, seed, round_index):
    key = derive_key(seed, round_index, "tie")
    expected = [splitmix64((i * 0x9E3779B97F4A7C15 + key) % 2**64) for i in ids]
    assert tie_hash(np.array(ids, np.int64), seed=seed, round_index=round_index).tolist() == expected


def test_known_value_so_that_old_runs_can_be_repeated():
    assert derive_key(0, 1, "tie") == 1435318678579675055
    assert tie_hash(np.array([0, 7]), seed=0, round_index=1).tolist() == [3545825195843475873, 16540936373138377521]


def test_no_two_ids_share_a_hash_and_order_does_not_matter():
    ids = np.random.default_rng(0).permutation(100_000)
    hashes = tie_hash(ids, seed=3, round_index=1)
    assert len(np.unique(hashes)) == len(ids)
    assert tie_hash(ids[:1], seed=3, round_index=1)[0] == hashes[0]


@pytest.mark.parametrize("change", [{"seed": 1}, {"round_index": 1}, {"purpose": "random"}])
def test_seed_round_and_purpose_give_unrelated_orders(change):
    ids = np.arange(20_000)
    left = unit_hash(ids, **{"seed": 0, "round_index": 0, "purpose": "tie"})
    right = unit_hash(ids, **{"seed": 0, "round_index": 0, "purpose": "tie"} | change)
    # Correlation of 20,000 independent pairs has a standard deviation of 0.007.
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.04
    assert abs(np.corrcoef(left, ids)[0, 1]) < 0.04
    assert left.min() >= 0
    assert left.max() < 1
    assert abs(left.mean() - 0.5) < 0.01


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=60), st.integers(0, 70), st.integers(1, 5), st.integers(0, 9))
def test_sample_is_bounded_and_independent_of_order_and_sharding(ids, size, shards, seed):
    ids = np.array(ids, np.int64)
    whole = hash_sample(ids, size=size, seed=seed)
    assert len(whole) == min(size, len(ids))
    assert set(whole) <= set(ids)
    assert (np.diff(whole) > 0).all()
    parts = np.concatenate([hash_sample(ids[i::shards], size=size, seed=seed) for i in range(shards)])
    assert hash_sample(parts, size=size, seed=seed).tolist() == whole.tolist()
    assert hash_sample(ids[::-1], size=size, seed=seed).tolist() == whole.tolist()


def test_a_larger_sample_holds_a_smaller_one():
    ids = np.arange(1000)
    assert set(hash_sample(ids, size=50, seed=2)) <= set(hash_sample(ids, size=200, seed=2))


def test_fraction_of_ids():
    ids = np.arange(50_000)
    kept = hash_fraction(ids, fraction=0.2, seed=0)
    # Standard deviation of the share is 0.0018.
    assert abs(kept.mean() - 0.2) < 0.01
    assert hash_fraction(ids[7:9], fraction=0.2, seed=0).tolist() == kept[7:9].tolist()
    assert not hash_fraction(ids, fraction=0.0, seed=0).any()


def test_bad_sizes_are_refused():
    with pytest.raises(StrategyError, match="size is -1"):
        hash_sample(np.arange(3), size=-1, seed=0)
    with pytest.raises(StrategyError, match=r"fraction is 1\.5"):
        hash_fraction(np.arange(3), fraction=1.5, seed=0)
