"""`ascmr` against a slow and obvious computation over all pairs at once, and against itself over any cut of the pool."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xmr_ray.geometry.hashing import tie_hash
from xmr_ray.strategies.ascmr import Ascmr
from xmr_ray.strategies.choose import choose, choose_over, split_block
from xmr_ray.types import ScoreBlock

pytestmark = pytest.mark.slow

PARTS = ("intra", "inter", "class")
VARIANTS = [
    Ascmr(),
    Ascmr(lambda_=0.1, weights={"intra": 3, "inter": 0}),
    Ascmr(kappa=0.0, lambda_=3.0),
    Ascmr(weights=dict.fromkeys(PARTS, 0)),
    Ascmr(within="typical", candidates=None),
    Ascmr(within="typical", candidates=1),
    Ascmr(within="typical", candidates=3, lambda_=1.0),
    Ascmr(within="random"),
    Ascmr(variant="penalised"),
    Ascmr(variant="penalised", lambda_=4.0, weights={"intra": 0, "inter": 0}),
]
variants = pytest.mark.parametrize("strategy", VARIANTS, ids=str)


@st.composite
def pools(draw):
    """A train split: ids in any order, few cells and signatures, values with many ties, and what is bought of it."""
    num = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rough = draw(st.booleans())
    value = lambda: rng.choice([-1.5, 0.0, 0.25, 3.0], num) if rough else rng.normal(size=num).round(4)
    cell = rng.choice(draw(st.sampled_from([1, 3, 8])), num) * draw(st.sampled_from([1, 4]))
    ids = rng.choice(10**6, num, replace=False)
    place = {
        "cell": cell,
        "signature": rng.integers(0, draw(st.sampled_from([1, 3, 200])), num),
        "density": np.abs(value()) * draw(st.sampled_from([1.0, 1e-3])),
        "centre_distance": np.abs(value()),
    }
    return ScoreBlock(ids, {part: value() for part in PARTS} | place), ids[rng.random(num) < draw(st.sampled_from([0.0, 0.2, 0.8]))]


def density_bin(value):
    """Densities of one bin, 1/4096 of the power of two below them, have one rank."""
    fraction, exponent = math.frexp(value)
    return exponent, int(fraction * 2**13)


class Slow:
    """The rule over all pairs at once, in plain Python: fractions, dictionaries, sorted lists."""

    def __init__(self, strategy, block, bought, n, *, seed, round_index):
        self.strategy, self.n = strategy, n
        columns = {name: values.tolist() for name, values in block.columns.items()}
        rows = [{"id": int(i), **{name: values[at] for name, values in columns.items()}} for at, i in enumerate(block.pair_ids_B)]
        hashes = tie_hash(block.pair_ids_B, seed=seed, round_index=round_index).tolist()
        for row, tie in zip(rows, hashes, strict=True):
            row |= {"tie": tie, "group": (row["cell"], row["signature"])}
        owned = set(bought.tolist())
        self.pool, self.bought = [row for row in rows if row["id"] not in owned], [row for row in rows if row["id"] in owned]
        self.tie_of_cell = lambda m: int(tie_hash(np.array([m]), seed=seed, round_index=round_index, purpose="cell")[0])
        self._score()
        self.budgets = self._budgets() if strategy.variant == "kl" else None
        if self.budgets is not None and strategy.within == "typical" and strategy.candidates is not None:
            self._draw_candidates(seed, round_index)

    def _score(self):
        weights, pool = self.strategy.weights.positive(), self.pool
        for row in pool:
            row["informativeness"] = 0.0
        for part, weight in weights.items():
            values = [Fraction(row[part]) for row in pool]
            mean = sum(values) / max(len(pool), 1)
            spread = math.sqrt(sum((value - mean) ** 2 for value in values) / max(len(pool), 1))
            for row in pool:
                row["informativeness"] += weight / sum(weights.values()) * (float(Fraction(row[part]) - mean) / spread) if spread > 1e-9 else 0.0
        for row in pool:
            same = sum(density_bin(o["density"]) == density_bin(row["density"]) for o in pool)
            below = sum(o["density"] < row["density"] for o in pool if density_bin(o["density"]) != density_bin(row["density"]))
            row["rank"] = (below + 0.5 * same) / len(pool)
            row["utility"] = row["informativeness"]
            if self.strategy.variant == "penalised":
                row["utility"] -= self.strategy.density_weight * row["rank"]
            elif self.strategy.within == "typical":
                row["utility"] = -row["centre_distance"]
            elif self.strategy.within == "random":
                row["utility"] = 0.0

    def _budgets(self):
        pool, bought = Counter(row["cell"] for row in self.pool), Counter(row["cell"] for row in self.bought)
        cells = sorted({*pool, *bought})
        gain = {m: math.fsum(r["informativeness"] for r in self.pool if r["cell"] == m) / pool[m] if pool[m] else 0.0 for m in cells}
        average = math.fsum(gain[m] * pool[m] for m in cells) / max(len(self.pool), 1)
        spread = math.sqrt(math.fsum(pool[m] * (gain[m] - average) ** 2 for m in cells) / max(len(self.pool), 1))
        assume(spread == 0 or spread > 1e-6 or spread < 1e-13)
        scaled = {m: (gain[m] - average) / spread if spread > 1e-6 and pool[m] else 0.0 for m in cells}
        total = len(self.pool) + len(self.bought)
        log = {m: self.strategy.kappa * math.log((pool[m] + bought[m]) / total) + scaled[m] / self.strategy.density_weight for m in cells}
        held_groups = {row["group"] for row in self.bought}
        fresh = Counter(m for m, _ in {row["group"] for row in self.pool} - held_groups)
        first = self._split(min(self.n, sum(fresh.values())), log, bought, fresh)
        rest = self._split(self.n - sum(first.values()), log, bought + first, pool - first)
        return first + rest

    def _draw_candidates(self, seed, round_index):
        sizes = Counter(row["cell"] for row in self.pool)
        for row in self.pool:
            draw = int(tie_hash(np.array([row["id"]]), seed=seed, round_index=round_index, purpose="candidates")[0]) >> 11
            if Fraction(draw, 2**53) >= Fraction(self.strategy.candidates * self.budgets[row["cell"]], sizes[row["cell"]]):
                row["utility"] -= 1e6

    def _split(self, n, log, held, room):
        budget, cells = Counter(), sorted(log)
        while n:
            top = max(log[m] for m in cells)
            norm, total = math.fsum(math.exp(log[m] - top) for m in cells), sum(held[m] for m in cells) + n
            lacking = {m: max(0.0, total * math.exp(log[m] - top) / norm - held[m]) for m in cells}
            ideal = {m: n * lacking[m] / math.fsum(lacking.values()) for m in cells}
            for m in cells:  # rounding may decide these either way
                assume(abs(ideal[m] - room[m]) > 1e-6 or abs(ideal[m] - room[m]) == 0)
                assume(abs(ideal[m] - round(ideal[m])) > 1e-6 or ideal[m] == round(ideal[m]))
            full = [m for m in cells if ideal[m] > room[m]]
            if not full:
                order = sorted(
                    (m for m in cells if room[m] > int(ideal[m])), key=lambda m: (-round(ideal[m] - int(ideal[m]), 9), self.tie_of_cell(m))
                )
                budget.update({m: int(ideal[m]) for m in cells})
                budget.update(order[: n - sum(int(ideal[m]) for m in cells)])
                return budget
            budget.update({m: room[m] for m in full})
            n -= sum(room[m] for m in full)
            cells = [m for m in cells if m not in full]
        return budget

    def chosen(self):
        held = Counter(row["group"] for row in self.bought)
        for row in self.pool:
            ahead = [o for o in self.pool if o["group"] == row["group"] and (-o["utility"], o["tie"]) < (-row["utility"], row["tie"])]
            row["turn"] = held[row["group"]] + len(ahead)
        order = sorted(self.pool, key=lambda row: (row["turn"], -row["utility"], row["tie"]))
        if self.budgets is None:
            return {row["id"] for row in order[: self.n]}
        return {row["id"] for m, budget in self.budgets.items() for row in [o for o in order if o["cell"] == m][:budget]}


@variants
@settings(max_examples=40)
@given(pool=pools(), share=st.floats(0, 1), seed=st.integers(0, 2**30), round_index=st.integers(0, 9))
def test_equals_a_slow_computation_over_all_pairs_at_once(strategy, pool, share, seed, round_index):
    block, bought = pool
    n = round(share * (len(block) - len(bought)))
    slow = Slow(strategy, block, bought, n, seed=seed, round_index=round_index)
    rows = [*slow.pool]
    gaps = np.diff(np.unique([row["utility"] for row in rows]))
    assume(not ((gaps > 0) & (gaps < 1e-12)).any())  # a tie that only rounding tells apart
    selection = choose(strategy, [block], bought=bought, n=n, seed=seed, round_index=round_index)
    assert set(selection.pair_ids_n.tolist()) == slow.chosen()
    by_id = {row["id"]: row for row in rows}
    for at, pair_id in enumerate(selection.pair_ids_n.tolist()):
        assert selection.utility_n[at] == pytest.approx(by_id[pair_id]["utility"], abs=1e-9)
        assert selection.reasons["informativeness"][at] == pytest.approx(by_id[pair_id]["informativeness"], abs=1e-9)


@variants
@settings(max_examples=25)
@given(pool=pools(), share=st.floats(0, 1), shuffle=st.integers(0, 2**32 - 1))
def test_any_grouping_and_order_of_blocks_gives_the_same_selection(strategy, pool, share, shuffle):
    block, bought = pool
    rng = np.random.default_rng(shuffle)
    request = {"bought": bought, "n": round(share * (len(block) - len(bought))), "seed": 1, "round_index": 2}
    expected = choose(strategy, [block], **request)
    for num_actors in (1, 2, 5):
        part_of = rng.integers(0, num_actors, len(block))

        def in_groups(function, merge, part_of=part_of, num_actors=num_actors):
            parts = [function(block.only(part_of == part)) for part in rng.permutation(num_actors)]
            while len(parts) > 1:
                cut = rng.integers(1, len(parts)) + 1
                parts = [*parts[cut:], merge(parts[:cut])]
            return merge(parts)

        found = choose_over(in_groups, strategy, **request)
        assert found.pair_ids_n.tolist() == expected.pair_ids_n.tolist()
        assert found.utility_n.tolist() == expected.utility_n.tolist()
        assert {name: values.tolist() for name, values in found.reasons.items()} == {n: v.tolist() for n, v in expected.reasons.items()}


@variants
@settings(max_examples=15)
@given(pool=pools(), share=st.floats(0, 1), parts=st.integers(1, 6))
def test_no_block_nominates_more_than_n(strategy, pool, share, parts):
    block, bought = pool
    blocks = [block.only(np.arange(len(block)) % parts == part) for part in range(parts)]
    halves = [split_block(part, bought) for part in blocks]
    n = round(share * (len(block) - len(bought)))
    plan = strategy.plan(*(strategy.merge_surveys([strategy.survey(pair[half]) for pair in halves]) for half in (0, 1)), n, seed=0, round_index=1)
    assert all(len(strategy.nominate(pool_part, plan)) <= n for pool_part, _ in halves)
    assert plan.shares["cell_budget"].sum() == n if strategy.variant == "kl" else "cell_budget" not in plan.shares
