"""One purchase from start to end: survey, plan, nominate and select over score blocks, wherever the blocks lie."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from xmr_ray.strategies.strategy import Nominations, Plan, Strategy, Survey
from xmr_ray.types import Ids, ScoreBlock, Selection

T = TypeVar("T")


class Reduce(Protocol):
    """Maps a pure function over all score blocks of the train split and merges what it returns, in descriptor order."""

    def __call__(self, function: Callable[[ScoreBlock], T], merge: Callable[[Sequence[T]], T]) -> T:
        """The merged result; `merge` may be applied to any grouping of neighbouring parts."""


@dataclass(frozen=True)
class Holdings:
    """Surveys of the two halves of the train split: what can be bought and what has been."""

    pool: Survey
    bought: Survey


def choose_over(reduce: Reduce, strategy: Strategy, *, bought: Ids, n: int, seed: int, round_index: int) -> Selection:
    """`n` pairs of the pool, best first, over blocks that `reduce` reaches; blocks may hold bought pairs, which are never chosen.

    Raises `StrategyError` if `n` is larger than the pool or a column that the strategy needs is missing.
    """
    bought_L = np.unique(np.asarray(bought, dtype=np.int64))

    def survey(block: ScoreBlock) -> Holdings:
        pool, owned = split_block(block, bought_L)
        return Holdings(strategy.survey(pool), strategy.survey(owned))

    def merge_holdings(parts: Sequence[Holdings]) -> Holdings:
        return Holdings(strategy.merge_surveys([part.pool for part in parts]), strategy.merge_surveys([part.bought for part in parts]))

    holdings = reduce(survey, merge_holdings)
    plan = strategy.plan(holdings.pool, holdings.bought, n, seed=seed, round_index=round_index)

    def nominate(block: ScoreBlock) -> Nominations:
        return strategy.nominate(split_block(block, bought_L)[0], plan)

    return strategy.select(reduce(nominate, _merger(strategy, plan)), plan)


def choose(strategy: Strategy, blocks: Iterable[ScoreBlock], *, bought: Ids, n: int, seed: int, round_index: int) -> Selection:
    """`n` pairs of the pool, best first, over blocks in memory; what the distributed path does, in one process.

    >>> from xmr_ray.strategies.random import Random
    >>> blocks = [ScoreBlock(np.array([4, 9])), ScoreBlock(np.array([2]))]
    >>> sorted(choose(Random(), blocks, bought=np.array([9]), n=2, seed=0, round_index=1).pair_ids_n.tolist())
    [2, 4]
    """
    held = list(blocks)

    def reduce(function: Callable[[ScoreBlock], T], merge: Callable[[Sequence[T]], T]) -> T:
        return merge([function(block) for block in held])

    return choose_over(reduce, strategy, bought=bought, n=n, seed=seed, round_index=round_index)


def split_block(block: ScoreBlock, bought_L: Ids) -> tuple[ScoreBlock, ScoreBlock]:
    """The pool pairs and the bought pairs of a block."""
    owned_B = np.isin(block.pair_ids_B, bought_L)
    return block.only(~owned_B), block.only(owned_B)


def _merger(strategy: Strategy, plan: Plan) -> Callable[[Sequence[Nominations]], Nominations]:
    def merge(parts: Sequence[Nominations]) -> Nominations:
        return strategy.merge_nominations(parts, plan)

    return merge
