import numpy as np
import pytest

from xmr_ray.errors import StrategyError
from xmr_ray.geometry.hashing import tie_hash
from xmr_ray.strategies.choose import choose
from xmr_ray.strategies.strategy import FeatureStrategy, Nominations, Plan, Strategy, Survey, best_first, join_nominations
from xmr_ray.types import ScoreBlock

NOTHING = np.array([], np.int64)


class Quota(Strategy):
    """Equal numbers of pairs from each of three cells: the shape of a strategy that allocates a budget."""

    kind: str = "quota"
    num_cells: int = 3

    @property
    def needs(self):
        return ("cell", "worth")

    def utility(self, block, plan):
        return block.columns["worth"]

    def survey(self, block):
        return Survey(len(block), {"in_cell": np.bincount(block.columns["cell"].astype(int), minlength=self.num_cells)})

    def plan(self, survey, bought, n, *, seed, round_index):
        super().plan(survey, bought, n, seed=seed, round_index=round_index)
        shares = np.full(self.num_cells, n // self.num_cells) - bought.totals["in_cell"]
        return Plan(n, seed, round_index, {"per_cell": np.minimum(shares + (n - shares.sum()) // self.num_cells, survey.totals["in_cell"])})

    def nominate(self, block, plan):
        cells = block.columns["cell"]
        parts = [
            super(Quota, self).nominate(block.only(cells == cell), Plan(int(share), plan.seed, plan.round_index))
            for cell, share in enumerate(plan.shares["per_cell"])
        ]
        return join_nominations(parts)

    def merge_nominations(self, parts, plan):
        joined = join_nominations(parts)
        rows = [
            found[best_first(joined.pair_ids_K[found], joined.utility_K[found], plan, n=int(share))]
            for cell, share in enumerate(plan.shares["per_cell"])
            for found in [np.flatnonzero(joined.columns["cell"] == cell)]
        ]
        return joined.take(np.concatenate(rows))


def test_a_strategy_with_budgets_per_cell_fits_the_protocol():
    rng = np.random.default_rng(0)
    cells, worth = rng.integers(0, 3, 90).astype(float), rng.normal(size=90)
    ids = rng.permutation(90).astype(np.int64)
    blocks = [ScoreBlock(ids[i::4], {"cell": cells[i::4], "worth": worth[i::4]}) for i in range(4)]
    selection = choose(Quota(), blocks, bought=NOTHING, n=12, seed=0, round_index=1)
    expected = {int(ids[i]) for cell in range(3) for i in sorted(np.flatnonzero(cells == cell), key=lambda i: -worth[i])[:4]}
    assert set(selection.pair_ids_n.tolist()) == expected
    assert selection.reasons["cell"].tolist() == [cells[ids.tolist().index(i)] for i in selection.pair_ids_n]


def test_surveys_add_up_and_bought_pairs_are_surveyed_apart():
    blocks = [ScoreBlock(np.array([1, 2, 3]), {"cell": np.array([0.0, 2.0, 2.0]), "worth": np.zeros(3)})]
    quota = Quota()
    both = quota.merge_surveys([quota.survey(blocks[0]), quota.survey(blocks[0])])
    assert both.num_pairs == 6
    assert both.totals["in_cell"].tolist() == [2, 0, 4]
    assert quota.merge_surveys([]).num_pairs == 0


def test_best_first_is_a_stable_sort_by_utility_then_hash():
    rng = np.random.default_rng(1)
    ids, utility = rng.permutation(300).astype(np.int64), rng.integers(0, 5, 300).astype(float)
    plan = Plan(0, seed=4, round_index=2)
    hashes = {int(i): int(tie_hash(np.array([i]), seed=4, round_index=2)[0]) for i in ids}
    slow = sorted(range(300), key=lambda row: (-utility[row], hashes[int(ids[row])]))
    assert best_first(ids, utility, plan).tolist() == slow
    for n in (0, 1, 150, 300, 400):
        assert best_first(ids, utility, plan, n=n).tolist() == slow[:n]


def test_too_few_nominations_raise():
    few = Nominations(np.array([1]), np.array([0.5]))
    with pytest.raises(StrategyError, match="1 pairs were nominated, expected 2"):
        Quota().select(few, Plan(2, 0, 1))


def test_plan_makes_generators_from_seed_round_and_purpose():
    draws = [Plan(1, seed, k).rng(purpose).integers(2**40) for seed, k, purpose in [(0, 1, "a"), (1, 0, "a"), (0, 1, "b"), (0, 1, "a")]]
    assert draws[0] == draws[3]
    assert len(set(draws)) == 3


def test_a_strategy_without_a_rule_says_so():
    class Empty(Strategy):
        kind: str = "empty"

    with pytest.raises(NotImplementedError, match="Empty"):
        choose(Empty(), [ScoreBlock(np.arange(3))], bought=NOTHING, n=1, seed=0, round_index=0)


def test_a_feature_strategy_without_a_rule_says_so():
    class Blank(FeatureStrategy):
        kind: str = "blank"

    with pytest.raises(NotImplementedError, match="Blank"):
        Blank().place(np.arange(3), np.eye(3), np.eye(3), n=1, seed=0)
