"""What every registered strategy promises, on pools that hypothesis makes up."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from xmr_ray.errors import StrategyError
from xmr_ray.strategies import AnyStrategy
from xmr_ray.strategies.ascmr import Ascmr
from xmr_ray.strategies.choose import choose, choose_over
from xmr_ray.strategies.strategy import FeatureStrategy, Strategy
from xmr_ray.types import ScoreBlock

UNION = get_args(AnyStrategy)[0]
VARIANTS = [Ascmr(variant="penalised"), Ascmr(within="typical"), Ascmr(lambda_=0.01, kappa=0.0, weights={"class": 0})]
STRATEGIES = [*(cls() for cls in get_args(UNION) if issubclass(cls, Strategy)), *VARIANTS]
FEATURE_STRATEGIES = [cls() for cls in get_args(UNION) if issubclass(cls, FeatureStrategy)]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.kind)
every_feature_strategy = pytest.mark.parametrize("strategy", FEATURE_STRATEGIES, ids=lambda strategy: strategy.kind)


@st.composite
def train_splits(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids in any order, scores with many ties, and which pairs are bought."""
    ids = draw(st.lists(st.integers(-5, 2**62), min_size=1, max_size=40, unique=True))
    scores = draw(st.lists(st.sampled_from([-1.5, 0.0, 0.25, 0.25, 3.0]) | st.floats(-1e6, 1e6), min_size=len(ids), max_size=len(ids)))
    bought = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    return np.array(ids, np.int64), np.array(scores), np.array(bought)


def block_of(strategy: Strategy, ids: np.ndarray, scores: np.ndarray) -> ScoreBlock:
    """Columns that the strategy needs, made from the scores; whole numbers where a column counts or names something."""
    columns = {name: np.roll(scores, shift) if shift else scores for shift, name in enumerate(strategy.needs)}
    for name, bound in (("cell", 5), ("signature", 3)):
        if name in columns:
            columns[name] = np.floor(np.abs(columns[name]) * 4).astype(np.int32) % bound
    return ScoreBlock(ids, columns)


def cut(block: ScoreBlock, parts: int, order: np.ndarray) -> list[ScoreBlock]:
    rows = [order[i::parts] for i in range(parts)]
    return [ScoreBlock(block.pair_ids_B[r], {name: v[r] for name, v in block.columns.items()}) for r in rows]


def same(left, right) -> bool:
    columns = left.reasons.keys() == right.reasons.keys() and all(np.array_equal(left.reasons[c], right.reasons[c]) for c in left.reasons)
    return columns and np.array_equal(left.pair_ids_n, right.pair_ids_n) and np.array_equal(left.utility_n, right.utility_n)


@every_strategy
@settings(max_examples=30, deadline=None)
@given(split=train_splits(), share=st.floats(0, 1), seed=st.integers(0, 2**40), round_index=st.integers(0, 50))
def test_buys_exactly_n_distinct_pool_pairs_best_first(strategy, split, share, seed, round_index):
    ids, scores, bought = split
    pool = ids[~bought]
    n = round(share * len(pool))
    selection = choose(strategy, [block_of(strategy, ids, scores)], bought=ids[bought], n=n, seed=seed, round_index=round_index)
    assert len(selection) == len(selection.utility_n) == n
    assert len(set(selection.pair_ids_n.tolist())) == n
    assert set(selection.pair_ids_n.tolist()) <= set(pool.tolist())
    assert np.isfinite(selection.utility_n).all()
    assert (np.diff(selection.utility_n) <= 0).all()


@every_strategy
@settings(max_examples=30, deadline=None)
@given(split=train_splits(), share=st.floats(0, 1), shuffle=st.integers(0, 2**32 - 1))
def test_blocks_and_their_order_do_not_matter(strategy, split, share, shuffle):
    ids, scores, bought = split
    rng = np.random.default_rng(shuffle)
    whole = block_of(strategy, ids, scores)
    request = {"bought": ids[bought], "n": round(share * (~bought).sum()), "seed": 3, "round_index": 2}
    expected = choose(strategy, [whole], **request)
    for parts in (1, 2, 5):
        blocks = cut(whole, parts, rng.permutation(len(ids)))
        assert same(choose(strategy, blocks, **request), expected)
        assert same(choose(strategy, [blocks[i] for i in rng.permutation(parts)], **request), expected)


@every_strategy
def test_merging_in_a_tree_equals_merging_at_once(strategy):
    rng = np.random.default_rng(0)
    whole = block_of(strategy, rng.permutation(200).astype(np.int64), rng.integers(0, 4, 200).astype(float))
    blocks = cut(whole, 7, np.arange(200))

    def in_a_tree(function, merge):
        parts = [function(block) for block in blocks]
        return merge([merge(parts[:3]), merge([merge(parts[3:5]), merge(parts[5:])])])

    request = {"bought": np.arange(20), "n": 30, "seed": 1, "round_index": 4}
    assert same(choose_over(in_a_tree, strategy, **request), choose(strategy, [whole], **request))


@every_strategy
def test_nominates_no_more_than_n_pairs_of_a_block(strategy):
    block = block_of(strategy, np.arange(50), np.repeat(1.0, 50))
    plan = strategy.plan(strategy.survey(block), strategy.survey(block.only(np.zeros(50, bool))), 7, seed=0, round_index=1)
    assert len(strategy.nominate(block, plan)) == 7


@every_strategy
def test_the_whole_pool_and_nothing(strategy):
    block = block_of(strategy, np.array([5, 3, 11]), np.array([1.0, 1.0, 2.0]))
    assert sorted(choose(strategy, [block], bought=np.array([3]), n=2, seed=0, round_index=1).pair_ids_n) == [5, 11]
    assert len(choose(strategy, [block], bought=np.array([3]), n=0, seed=0, round_index=1)) == 0
    assert len(choose(strategy, [], bought=np.array([], np.int64), n=0, seed=0, round_index=1)) == 0


@every_strategy
def test_more_than_the_pool_raises_with_the_numbers(strategy):
    block = block_of(strategy, np.array([5, 3, 11]), np.zeros(3))
    with pytest.raises(StrategyError, match="asked for 3 pairs, but the pool holds 2 \\(1 are bought\\)"):
        choose(strategy, [block], bought=np.array([3, 99]), n=3, seed=0, round_index=1)
    with pytest.raises(StrategyError, match="asked for -1"):
        choose(strategy, [block], bought=np.array([3]), n=-1, seed=0, round_index=1)


@every_strategy
def test_a_missing_column_is_named(strategy):
    if not strategy.needs:
        pytest.skip("reads no column")
    with pytest.raises(StrategyError, match=f"needs column '{strategy.needs[0]}'.*'unrelated'"):
        choose(strategy, [ScoreBlock(np.arange(4), {"unrelated": np.zeros(4)})], bought=np.array([], np.int64), n=1, seed=0, round_index=1)


@every_strategy
def test_a_pair_in_two_blocks_raises(strategy):
    blocks = [block_of(strategy, np.array([5]), np.zeros(1)), block_of(strategy, np.array([5]), np.zeros(1))]
    with pytest.raises(StrategyError, match="pair_id 5 was nominated 2 times"):
        choose(strategy, blocks, bought=np.array([], np.int64), n=2, seed=0, round_index=1)


@every_strategy
def test_ties_do_not_favour_low_ids_and_change_with_the_round(strategy):
    block = block_of(strategy, np.arange(400), np.zeros(400))
    picks = [set(choose(strategy, [block], bought=np.array([], np.int64), n=100, seed=9, round_index=k).pair_ids_n.tolist()) for k in range(20)]
    assert len({frozenset(pick) for pick in picks}) == 20
    # 2,000 draws with expectation 0.5 each for "below 200"; the bound is more than 5 standard deviations wide.
    assert abs(sum(sum(i < 200 for i in pick) for pick in picks) / 2000 - 0.5) < 0.06


@every_strategy
def test_kind_picks_the_class_and_unknown_keys_are_refused(strategy):
    adapter = TypeAdapter(AnyStrategy)
    assert adapter.validate_python(strategy.model_dump(mode="json")) == strategy
    assert type(adapter.validate_python({"kind": strategy.kind})) is type(strategy)
    with pytest.raises(ValueError, match="Extra inputs"):
        adapter.validate_python({"kind": strategy.kind, "no_such_knob": 1})


def test_every_registered_strategy_is_of_one_of_the_two_kinds():
    assert len(STRATEGIES) - len(VARIANTS) + len(FEATURE_STRATEGIES) == len(get_args(UNION))


@every_feature_strategy
@settings(max_examples=25, deadline=None)
@given(split=train_splits(), share=st.floats(0, 1), seed=st.integers(0, 2**40), round_index=st.integers(0, 50), coarse=st.booleans())
def test_a_feature_strategy_buys_n_distinct_pool_pairs_whatever_the_order(strategy, split, share, seed, round_index, coarse):
    ids, _, bought = split
    rng = np.random.default_rng(seed)
    image, text = (rng.integers(0, 2, (len(ids), width)) if coarse else rng.normal(size=(len(ids), width)) for width in (3, 2))
    pool, request = ids[~bought], {"bought": ids[bought], "seed": seed, "round_index": round_index}
    n = round(share * len(pool))
    assert sorted(strategy.draw_candidates(ids, n=n, **request).tolist()) == sorted(pool.tolist())
    chosen = strategy.place(ids, image, text, n=n, **request)
    assert len(chosen) == len(set(chosen.pair_ids_n.tolist())) == n
    assert set(chosen.pair_ids_n.tolist()) <= set(pool.tolist())
    assert np.isfinite(chosen.utility_n).all()
    order = rng.permutation(len(ids))
    assert same(strategy.place(ids[order], image[order], text[order], n=n, **request), chosen)


@every_feature_strategy
def test_a_feature_strategy_refuses_more_than_the_pool(strategy):
    ids = np.arange(9)
    with pytest.raises(StrategyError, match="asked for 6 pairs of 5"):
        strategy.draw_candidates(ids, n=6, bought=ids[:4], seed=0, round_index=1)
    with pytest.raises(StrategyError, match="asked for 6 pairs of 5"):
        strategy.place(ids, np.eye(9), np.eye(9), n=6, bought=ids[:4], seed=0, round_index=1)


@every_feature_strategy
def test_candidates_and_bought_pairs_are_bounded_and_change_with_the_round(strategy):
    small, ids, bought = strategy.model_copy(update={"candidates": 30}), np.arange(1000), np.arange(0, 1000, 3)
    drawn = [small.draw_candidates(ids, n=10, bought=bought, seed=0, round_index=k).tolist() for k in (1, 2)]
    assert [len(part) for part in drawn] == [30, 30]
    assert drawn[0] != drawn[1]
    assert not set(drawn[0]) & set(bought.tolist())
    assert len(small.draw_candidates(ids, n=50, bought=bought, seed=0, round_index=1)) == 50
    assert len(small.draw_bought(bought, seed=0, round_index=1)) == 30
    assert set(small.draw_bought(bought, seed=0, round_index=1).tolist()) <= set(bought.tolist())
    assert strategy.draw_bought(bought, seed=0, round_index=1).tolist() == bought.tolist()
