import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xmr_ray.errors import ConfigError
from xmr_ray.labels.budget import Budget


@given(
    total=st.integers(1, 500), seed_pairs=st.integers(1, 600), per_round=st.integers(1, 120) | st.lists(st.integers(1, 90), min_size=1, max_size=4)
)
def test_purchases_spend_exactly_the_budget(total, seed_pairs, per_round):
    sizes = Budget(total=total, seed_pairs=seed_pairs, per_round=tuple(per_round) if isinstance(per_round, list) else per_round).purchases()
    expected, wanted = [], [seed_pairs, *(per_round if isinstance(per_round, list) else [per_round])]
    left = total
    while left:
        size = min(wanted[min(len(expected), len(wanted) - 1)], left)
        expected.append(size)
        left -= size
    assert sizes == expected


@pytest.mark.parametrize("per_round", [0, -3, (), (5, 0)])
def test_a_round_that_buys_nothing_is_refused(per_round):
    with pytest.raises(ValidationError, match="per_round"):
        Budget(per_round=per_round)


def test_a_budget_beyond_the_train_split_is_refused_with_both_numbers():
    Budget(total=10).check(10)
    with pytest.raises(ConfigError, match=r"budget.total is 11, but the train split holds 10 pairs; lower budget.total to 10"):
        Budget(total=11).check(10)
