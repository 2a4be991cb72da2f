"""What every strategy does: survey, plan, nominate, select; functions of score blocks and of small summaries that merge.

A simple strategy implements `utility` (or `nominate`) and inherits the rest. One that allocates a budget over cells overrides `survey` (counts and
sums per cell), `plan` (pairs per cell), `nominate` and `merge_nominations` (the best of each cell), and nothing else changes.

A strategy that needs the geometry of many pairs at once is a `FeatureStrategy` instead: it looks at a bounded candidate set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xmr_ray.component import Component
from xmr_ray.errors import StrategyError
from xmr_ray.geometry.hashing import derive_key, hash_sample, tie_hash
from xmr_ray.types import Ids, ScoreBlock, Selection

Utility = NDArray[np.float64]
NO_PAIRS: Ids = np.empty(0, np.int64)
# Columns that more than the networks is needed for: cells, neighbours, and the Gaussian heads.
CELL_COLUMNS = frozenset({"cell", "centre_distance", "signature"})
DENSITY_COLUMNS = frozenset({"density"})
HEAD_COLUMNS = frozenset({"intra", "inter"})


@dataclass(frozen=True)
class Survey:
    """What must be known of many pairs before any is chosen: how many, and totals that add up over blocks.

    Floating sums are not associative. Surveys are merged in descriptor order; totals that must not depend on how pairs are split
    into blocks are integers (counts, fixed-point sums).
    """

    num_pairs: int
    totals: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What the survey led to: how many pairs, by which seed, and what else the strategy decided (e.g. pairs per cell)."""

    n: int
    seed: int
    round_index: int
    shares: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator made from (seed, round, purpose)."""
        return np.random.default_rng(derive_key(self.seed, self.round_index, purpose))


@dataclass(frozen=True)
class Nominations:
    """Pairs put forward by some blocks, best first; `columns` are what they were judged by and end in the selection file."""

    pair_ids_K: Ids
    utility_K: Utility
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pair_ids_K)

    def take(self, rows: NDArray[np.int64]) -> "Nominations":
        """These rows, in this order."""
        return Nominations(self.pair_ids_K[rows], self.utility_K[rows], {name: values[rows] for name, values in self.columns.items()})


def best_first(pair_ids_K: Ids, utility_K: Utility, plan: Plan, *, n: int | None = None) -> NDArray[np.int64]:
    """Rows of the best `n` pairs (all without `n`): highest utility first, ties by the hash of (seed, round, `pair_id`)."""
    rows = np.arange(len(pair_ids_K))
    if n is not None and n < len(rows):
        if n <= 0:
            return rows[:0]
        rows = np.flatnonzero(utility_K >= np.partition(utility_K, len(rows) - n)[len(rows) - n])
    hashes = tie_hash(pair_ids_K[rows], seed=plan.seed, round_index=plan.round_index)
    order: NDArray[np.int64] = rows[np.lexsort((hashes, -utility_K[rows]))]
    return order if n is None else order[:n]


def join_nominations(parts: Sequence[Nominations]) -> Nominations:
    """All nominations of all parts, in the order of the parts."""
    if not parts:
        return Nominations(NO_PAIRS, np.empty(0, np.float64))
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return Nominations(np.concatenate([part.pair_ids_K for part in parts]), np.concatenate([part.utility_K for part in parts]), columns)


class Strategy(Component):
    """Which pairs to buy. Higher utility means more worth labelling."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns of the score blocks that it reads; empty means that no network runs."""
        return ()

    def utility(self, block: ScoreBlock, plan: Plan) -> Utility:
        """Worth of every pair of the block (B,); required unless `nominate` is overridden."""
        raise NotImplementedError(f"{type(self).__name__} implements neither `utility` nor `nominate`")

    def survey(self, block: ScoreBlock) -> Survey:
        """What this block adds to the knowledge of the whole; here the number of its pairs."""
        return Survey(len(block))

    def merge_surveys(self, parts: Sequence[Survey]) -> Survey:
        """Several surveys as one: everything adds up, in the order given."""
        totals: dict[str, NDArray[Any]] = {}
        for part in parts:
            for name, values in part.totals.items():
                totals[name] = totals[name] + values if name in totals else values
        return Survey(sum(part.num_pairs for part in parts), totals)

    def plan(self, survey: Survey, bought: Survey, n: int, *, seed: int, round_index: int) -> Plan:
        """What to do, from the survey of the pool and the survey of the pairs bought so far.

        Raises `StrategyError` if `n` is negative or larger than the pool.
        """
        if n < 0:
            raise StrategyError(f"strategy {self.kind!r}: asked for {n} pairs; expected 0 or more")
        if n > survey.num_pairs:
            raise StrategyError(
                f"strategy {self.kind!r}: asked for {n} pairs, but the pool holds {survey.num_pairs} ({bought.num_pairs} are bought); "
                f"ask for at most {survey.num_pairs}"
            )
        return Plan(n, seed, round_index)

    def nominate(self, block: ScoreBlock, plan: Plan) -> Nominations:
        """The pairs of this block that could be chosen, never more than `plan.n`, best first."""
        self._require_columns(block)
        utility_B = np.asarray(self.utility(block, plan), dtype=np.float64)
        rows = best_first(block.pair_ids_B, utility_B, plan, n=plan.n)
        return Nominations(block.pair_ids_B, utility_B, dict(block.columns)).take(rows)

    def merge_nominations(self, parts: Sequence[Nominations], plan: Plan) -> Nominations:
        """The nominations that may still be chosen, best first; merging merged parts gives the same."""
        joined = join_nominations([part for part in parts if len(part)])
        return joined.take(best_first(joined.pair_ids_K, joined.utility_K, plan, n=plan.n))

    def select(self, nominations: Nominations, plan: Plan) -> Selection:
        """Exactly `plan.n` pairs, best first; a pair nominated twice or too few nominations raise `StrategyError`."""
        chosen = nominations.take(best_first(nominations.pair_ids_K, nominations.utility_K, plan, n=plan.n))
        ids, counts = np.unique(chosen.pair_ids_K, return_counts=True)
        if (counts > 1).any():
            raise StrategyError(
                f"strategy {self.kind!r}: pair_id {ids[counts > 1][0]} was nominated {counts.max()} times; score every pair in one block"
            )
        if len(chosen) != plan.n:
            raise StrategyError(
                f"strategy {self.kind!r}: {len(chosen)} pairs were nominated, expected {plan.n}; survey and nominate must see the same blocks"
            )
        return Selection(chosen.pair_ids_K, chosen.utility_K, {name: values.astype(np.float64) for name, values in chosen.columns.items()})

    def _require_columns(self, block: ScoreBlock) -> None:
        missing = [name for name in self.needs if name not in block.columns]
        if missing:
            raise StrategyError(f"strategy {self.kind!r} needs column {missing[0]!r}; the score block holds {sorted(block.columns)}")


class FeatureStrategy(Component):
    """Which pairs to buy, from the features of a bounded candidate set and of what is bought; no network runs."""

    candidates: int = Field(20_000, ge=1, description="pairs whose features are looked at; at least as many as are asked for")

    def draw_candidates(self, pair_ids: Ids, *, n: int, seed: int, bought: Ids = NO_PAIRS, round_index: int = 0) -> Ids:
        """The pool pairs to look at, drawn by hash, ascending: `candidates` of them, or `n` if that is more.

        Raises `StrategyError` if `n` is negative or larger than the pool.
        """
        pool = pair_ids[~np.isin(pair_ids, bought)]
        self._check_number(n, len(pool))
        return hash_sample(pool, size=max(self.candidates, n), seed=seed, round_index=round_index, purpose=self.kind)

    def draw_bought(self, bought: Ids, *, seed: int, round_index: int = 0) -> Ids:
        """The bought pairs to look at beside the candidates, ascending: all, or `candidates` of them drawn by hash."""
        return hash_sample(bought, size=self.candidates, seed=seed, round_index=round_index, purpose=f"{self.kind} bought")

    def place(
        self,
        pair_ids_N: Ids,
        image_NI: NDArray[Any],
        text_NT: NDArray[Any],
        *,
        n: int,
        seed: int,
        bought: Ids = NO_PAIRS,
        round_index: int = 0,
    ) -> Selection:
        """The pairs to buy, best first; rows are candidates and bought pairs together, in any order."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `place`")

    def _check_number(self, n: int, num_pairs: int) -> None:
        if not 0 <= n <= num_pairs:
            raise StrategyError(f"strategy {self.kind!r}: asked for {n} pairs of {num_pairs}; expected 0 to {num_pairs}")
