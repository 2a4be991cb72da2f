import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.labels.held_out import hold_out
from xmr_ray.types import EMPTY_LABELS, LabelSet


@given(ids=st.sets(st.integers(0, 2**62), max_size=50), cut=st.integers(0, 50), share=st.sampled_from([0.0, 0.2, 0.7, 1.0]))
def test_a_pair_stays_where_it_is_whatever_else_is_bought(ids, cut, share):
    ordered = sorted(ids)
    labels = LabelSet.of(ordered, [[i % 3, 3 + i % 2] for i in ordered])
    some = labels.take(ordered[:cut])
    train_on, held_out = hold_out(labels, share=share, seed=1)
    fewer_on, fewer_out = hold_out(some, share=share, seed=1)
    assert set(fewer_on.pair_ids_L) <= set(train_on.pair_ids_L)
    assert set(fewer_out.pair_ids_L) <= set(held_out.pair_ids_L)
    assert sorted([*train_on.pair_ids_L, *held_out.pair_ids_L]) == ordered
    together = train_on.merge(held_out)
    np.testing.assert_array_equal(together.classes, labels.classes)
    assert {0.0: len(held_out), 1.0: len(train_on)}.get(share, 0) == 0


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_the_share_is_held_and_another_seed_holds_out_others(share):
    labels = LabelSet.of(range(4000), [[0]] * 4000)
    held = [hold_out(labels, share=share, seed=seed)[1].pair_ids_L for seed in (0, 1)]
    deviation = (4000 * share * (1 - share)) ** 0.5
    assert all(abs(len(ids) - 4000 * share) < 4 * deviation for ids in held)
    assert abs(len(np.intersect1d(*held)) - 4000 * share**2) < 4 * (4000 * share**2) ** 0.5


def test_of_nothing_nothing_is_held_out():
    assert [len(part) for part in hold_out(EMPTY_LABELS, share=0.2, seed=0)] == [0, 0]
