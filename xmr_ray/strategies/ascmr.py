"""Density-aware purchase: informativeness decides how far each region's budget may leave the region's share of all pairs."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from xmr_ray.component import Settings
from xmr_ray.errors import StrategyError
from xmr_ray.geometry.hashing import tie_hash, unit_hash
from xmr_ray.strategies.allocation import keep_distinct_best, log_weights, scale_gains, shares_of, split_budget
from xmr_ray.strategies.strategy import Nominations, Plan, Strategy, Survey, Utility, best_first, join_nominations
from xmr_ray.strategies.totals import NUM_LIMBS, count_keys, count_of, fixed_point, mean_of, merge_counts, rank_keys, rank_of, spread_of, sum_by_cell
from xmr_ray.types import ScoreBlock

Ints = NDArray[np.int64]
_SIGNATURE_BITS = 32
# Farther than any pair lies from its centre: pairs that were not drawn come after all that were.
_BEYOND = 1e6

LAMBDAS = {"kl": 10.0, "penalised": 1.0}


class Weights(Settings):
    """Weights of the parts of informativeness; a part of weight 0 is not read, so that nothing need compute it."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    intra: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="uncertainty inside the modalities")
    inter: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="disagreement between the modalities")
    class_: float = Field(default=1.0, ge=0, allow_inf_nan=False, alias="class", description="uncertainty of the predicted labels")

    def positive(self) -> dict[str, float]:
        """Column -> weight of the parts that count."""
        weights = {"intra": self.intra, "inter": self.inter, "class": self.class_}
        return {part: weight for part, weight in weights.items() if weight > 0}


class Ascmr(Strategy):
    """Informativeness under a semantic-density regulariser.

    Informativeness is the weighted mean of the parts, each z-scored over the pool. `kl`: cell m should hold a share of all labels
    q_m ~ pi_m^kappa exp(g_m / lambda), with pi_m its share of all train pairs and g_m the mean informativeness of its pool pairs, scaled
    to standard deviation 1 over the pool, so that lambda has no unit. `penalised`: no budgets, but informativeness - lambda rank of
    the local density, from 0 to 1. Either way a near-duplicate (same cell and signature) waits until every other signature had its turn,
    whether the first one was bought now or in an earlier round; budgets respect that, too, so a clump does not get its share in copies.

    A place of a `typical` cell goes to the pair nearest to the centre among `candidates` pairs, drawn by hash. The nearest one of all is the
    more extreme the more pairs a cell holds, and a batch of extremes says little of what lies between them.

    Source: [ASCMR] for the idea; the formulas are this project's reconstruction.
    """

    kind: Literal["ascmr"] = "ascmr"
    variant: Literal["kl", "penalised"] = Field(default="kl", description="budgets by cell, or informativeness less density")
    lambda_: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="weight of density: large is representative, small is greedy; None is 10 (kl) or 1"
    )
    kappa: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="kl: power of the density; 0 gives equal cells")
    weights: Weights = Weights()
    within: Literal["typical", "informative", "random"] = Field(
        default="typical", description="kl: first in a cell is the pair nearest to the centre, the most informative, or any"
    )
    candidates: int | None = Field(
        default=4, ge=1, description="kl, typical: pairs of the cell, drawn at random, that compete for each place; None: all of them"
    )

    @model_validator(mode="after")
    def _check_variant(self) -> "Ascmr":
        if self.variant == "kl" and self.density_weight < 1e-6:
            raise ValueError(f"lambda_ is {self.lambda_}; variant kl expects at least 1e-6")
        return self

    @property
    def density_weight(self) -> float:
        """Lambda, with the default of the variant: the two are on different scales."""
        return LAMBDAS[self.variant] if self.lambda_ is None else self.lambda_

    @property
    def needs(self) -> tuple[str, ...]:
        """The parts that count, and where each pair lies."""
        place = ("cell", "centre_distance", "signature")
        return (*self.weights.positive(), *place, *(("density",) if self.variant == "penalised" else ()))

    def survey(self, block: ScoreBlock) -> Survey:
        """Pairs and exact sums of the parts by cell, sums of squares over all, and how often each signature and density occurs."""
        self._require_columns(block)
        cells_B = _cells(block.columns)
        num_cells = int(cells_B.max(initial=-1)) + 1
        parts = [block.columns[part] for part in self.weights.positive()]
        sums = [sum_by_cell(values_B, cells_B, num_cells=num_cells) for values_B in parts]
        squares = [fixed_point(np.square(values_B)).sum(axis=0) for values_B in parts]
        totals = {
            "pairs": np.bincount(cells_B, minlength=num_cells).astype(np.int64),
            "sums": np.stack(sums, axis=1) if sums else np.zeros((num_cells, 0, NUM_LIMBS), np.int64),
            "squares": np.stack(squares) if squares else np.zeros((0, NUM_LIMBS), np.int64),
            "groups": count_keys(_groups(block.columns)),
        }
        if self.variant == "penalised":
            totals["densities"] = count_keys(rank_keys(block.columns["density"]))
        return Survey(len(block), totals)

    def merge_surveys(self, parts: Sequence[Survey]) -> Survey:
        """Several surveys as one; every total is an integer, so the order and the grouping of the parts do not matter."""
        surveys = parts or [self.survey(ScoreBlock(np.empty(0, np.int64), {name: np.empty(0) for name in self.needs}))]
        totals: dict[str, NDArray[Any]] = {}
        for name in surveys[0].totals:
            arrays = [part.totals[name] for part in surveys]
            if name in ("groups", "densities"):
                totals[name] = merge_counts(arrays)
            else:
                totals[name] = np.sum([_padded(array, max(len(other) for other in arrays)) for array in arrays], axis=0)
        return Survey(sum(part.num_pairs for part in parts), totals)

    def plan(self, survey: Survey, bought: Survey, n: int, *, seed: int, round_index: int) -> Plan:
        """The scale of each part, and for each cell its density, its share and its budget.

        Raises `StrategyError` if `n` is negative or larger than the pool.
        """
        super().plan(survey, bought, n, seed=seed, round_index=round_index)
        num_cells = max(len(survey.totals["pairs"]), len(bought.totals["pairs"]))
        held_M = _padded(bought.totals["pairs"], num_cells)
        density_M = (_padded(survey.totals["pairs"], num_cells) + held_M) / max(survey.num_pairs + bought.num_pairs, 1)
        sums_P4, squares_P4 = survey.totals["sums"].sum(axis=0), survey.totals["squares"]
        shares = {
            "mean": np.array([mean_of(sum_4, survey.num_pairs) for sum_4 in sums_P4], dtype=np.float64),
            "spread": np.array([spread_of(a, b, survey.num_pairs) for a, b in zip(sums_P4, squares_P4, strict=True)], dtype=np.float64),
            "bought_groups": bought.totals["groups"],
            "cell_density": density_M,
            "cell_bought": held_M,
        }
        if self.variant == "penalised":
            return Plan(n, seed, round_index, shares | {"densities": survey.totals["densities"]})
        logs_M = log_weights(density_M, self._gains(survey, shares), lambda_=self.density_weight, kappa=self.kappa)
        ties_M = tie_hash(np.arange(num_cells), seed=seed, round_index=round_index, purpose="cell")
        budget_M = _split_fresh_first(survey, bought, n, log_weights_M=logs_M, ties_M=ties_M)
        if self.within == "typical" and self.candidates is not None:
            shares["cell_drawn"] = self.candidates * budget_M / np.maximum(_padded(survey.totals["pairs"], num_cells), 1)
        return Plan(n, seed, round_index, shares | {"cell_share": shares_of(logs_M), "cell_budget": budget_M})

    def utility(self, block: ScoreBlock, plan: Plan) -> Utility:
        """What orders the pairs of a cell (`kl`) or of the pool (`penalised`); signatures come before it."""
        if self.variant == "kl" and self.within == "typical":
            return -block.columns["centre_distance"].astype(np.float64) - _BEYOND * self._left_out(block, plan)
        if self.variant == "kl" and self.within == "random":
            return np.zeros(len(block))
        informative_B = self._informativeness(block.columns, plan.shares, num_rows=len(block))
        if self.variant == "kl":
            return informative_B
        return informative_B - self.density_weight * rank_of(plan.shares["densities"], rank_keys(block.columns["density"]))

    def _left_out(self, block: ScoreBlock, plan: Plan) -> NDArray[np.bool_]:
        """The pairs that were not drawn to compete for a place of their cell."""
        if "cell_drawn" not in plan.shares:
            return np.zeros(len(block), np.bool_)
        draws_B = unit_hash(block.pair_ids_B, seed=plan.seed, round_index=plan.round_index, purpose="candidates")
        return np.asarray(draws_B >= plan.shares["cell_drawn"][_cells(block.columns)], np.bool_)

    def nominate(self, block: ScoreBlock, plan: Plan) -> Nominations:
        """Of each cell the pairs that its budget would take if there were no other block: never more than `plan.n` together."""
        self._require_columns(block)
        columns = {name: block.columns[name] for name in self.needs}
        columns["informativeness"] = self._informativeness(block.columns, plan.shares, num_rows=len(block))
        cells_B = _cells(block.columns)
        columns |= {name: plan.shares[name][cells_B] for name in ("cell_density", "cell_share", "cell_bought", "cell_budget") if name in plan.shares}
        return self._keep(Nominations(block.pair_ids_B, self.utility(block, plan), columns), plan)

    def merge_nominations(self, parts: Sequence[Nominations], plan: Plan) -> Nominations:
        """The pairs that may still be chosen; what a cell's budget takes of all parts."""
        joined = join_nominations([part for part in parts if len(part)])
        return self._keep(joined, plan) if len(joined) else joined

    def _keep(self, nominations: Nominations, plan: Plan) -> Nominations:
        groups_K = _groups(nominations.columns)
        budgets = plan.shares.get("cell_budget")
        rows = keep_distinct_best(
            slots_K=np.zeros(len(nominations), np.int64) if budgets is None else _cells(nominations.columns),
            groups_K=groups_K,
            used_K=count_of(plan.shares["bought_groups"], groups_K),
            utility_K=nominations.utility_K,
            hashes_K=tie_hash(nominations.pair_ids_K, seed=plan.seed, round_index=plan.round_index),
            quota_S=np.array([plan.n]) if budgets is None else budgets,
        )
        kept = nominations.take(rows)
        return kept.take(best_first(kept.pair_ids_K, kept.utility_K, plan))

    def _informativeness(self, columns: Mapping[str, NDArray[Any]], shares: Mapping[str, NDArray[Any]], *, num_rows: int) -> Utility:
        """Weighted mean of z-scores; a part that is the same everywhere says nothing."""
        weights = self.weights.positive()
        total = np.zeros(num_rows)
        for (part, weight), mean, spread in zip(weights.items(), shares["mean"], shares["spread"], strict=True):
            if spread > 0:
                total += weight / sum(weights.values()) * ((columns[part] - mean) / spread)
        return total

    def _gains(self, survey: Survey, shares: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Mean informativeness of each cell's pool pairs, scaled; a cell without any is average."""
        pairs_M, num_cells = survey.totals["pairs"], len(shares["cell_density"])
        parts = self.weights.positive()
        means = {
            part: np.array([mean_of(sums_4, int(pairs)) for sums_4, pairs in zip(survey.totals["sums"][:, at], pairs_M, strict=True)], np.float64)
            for at, part in enumerate(parts)
        }
        gain_M = self._informativeness(means, shares, num_rows=len(pairs_M))
        return scale_gains(_padded(gain_M, num_cells), _padded(pairs_M, num_cells))


def _split_fresh_first(survey: Survey, bought: Survey, n: int, *, log_weights_M: NDArray[np.float64], ties_M: NDArray[np.uint64]) -> Ints:
    """Budgets (M,): signatures of which nothing is bought are used up in every cell before any cell takes a near-duplicate."""
    num_cells = len(log_weights_M)
    groups_G = survey.totals["groups"][:, 0]
    fresh_G = groups_G[count_of(bought.totals["groups"], groups_G) == 0]
    fresh_M = np.bincount(fresh_G >> _SIGNATURE_BITS, minlength=num_cells).astype(np.int64)
    room_M, held_M = _padded(survey.totals["pairs"], num_cells), _padded(bought.totals["pairs"], num_cells)
    num_fresh = min(n, int(fresh_M.sum()))
    first_M = split_budget(num_fresh, log_weights_M=log_weights_M, held_M=held_M, room_M=fresh_M, ties_M=ties_M)
    return first_M + split_budget(n - num_fresh, log_weights_M=log_weights_M, held_M=held_M + first_M, room_M=room_M - first_M, ties_M=ties_M)


def _cells(columns: Mapping[str, NDArray[Any]]) -> Ints:
    cells_B = columns["cell"].astype(np.int64)
    if len(cells_B) and cells_B.min() < 0:
        raise StrategyError(f"strategy 'ascmr': cell {cells_B.min()}; expected 0 or more; assign every pair to a cell")
    return cells_B


def _groups(columns: Mapping[str, NDArray[Any]]) -> Ints:
    """One number for each (cell, signature); pairs that share it are near-duplicates."""
    signatures_B = columns["signature"].astype(np.int64)
    if len(signatures_B) and not 0 <= signatures_B.min() <= signatures_B.max() < 2**_SIGNATURE_BITS:
        raise StrategyError(f"strategy 'ascmr': signatures from {signatures_B.min()} to {signatures_B.max()}; expected 0 to 2^32 - 1")
    return (_cells(columns) << _SIGNATURE_BITS) | signatures_B


def _padded(array: NDArray[Any], length: int) -> NDArray[Any]:
    """The array with rows of zeros at its end."""
    return np.concatenate([array, np.zeros((length - len(array), *array.shape[1:]), array.dtype)])
