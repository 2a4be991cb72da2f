import math
from collections import Counter

import numpy as np
import pytest
from pydantic import TypeAdapter

from xmr_ray.errors import StrategyError
from xmr_ray.geometry.hashing import tie_hash
from xmr_ray.scoring.cells import assign_cells, fit_cells
from xmr_ray.strategies import AnyStrategy
from xmr_ray.strategies.ascmr import Ascmr, Weights
from xmr_ray.strategies.choose import choose
from xmr_ray.strategies.entropy import Entropy
from xmr_ray.strategies.strategy import Plan
from xmr_ray.types import ScoreBlock

NOTHING = np.array([], np.int64)
PARTS = ("intra", "inter", "class")
CLASS_ONLY = {"intra": 0, "inter": 0}


def make_block(ids, cell, *, signature=None, density=None, centre_distance=None, **parts):
    """A block with every column; a part that is not given is 0, a pair without a signature has one of its own."""
    filled = {
        "cell": np.asarray(cell),
        "signature": np.arange(len(ids)) if signature is None else np.asarray(signature),
        "centre_distance": np.ones(len(ids)) if centre_distance is None else np.asarray(centre_distance, float),
        "density": np.ones(len(ids)) if density is None else np.asarray(density, float),
    }
    return ScoreBlock(np.asarray(ids), filled | {part: np.asarray(parts.get(part, np.zeros(len(ids))), float) for part in PARTS})


# ---- budgets


def two_cells(gain=1.0):
    """200 pairs each, the second cell more informative by its class part; every pair has a signature of its own."""
    cell = np.repeat([0, 1], 200)
    return make_block(np.arange(400), cell, **{"class": gain * cell + np.tile([-0.1, 0.1], 200)})


def bought_by_cell(strategy, block, n, bought=NOTHING):
    selection = choose(strategy, [block], bought=bought, n=n, seed=0, round_index=1)
    return np.bincount(selection.reasons["cell"].astype(int), minlength=2).tolist()


def test_lambda_leads_from_the_best_cell_to_proportional_shares():
    # gains scaled to -1 and 1, so the shares are 1 : exp(2 / lambda)
    for lambda_ in (0.01, 0.5, 1.0, 2.0, 1e6):
        share = 1 / (1 + math.exp(-2 / lambda_))
        assert bought_by_cell(Ascmr(lambda_=lambda_), two_cells(), 100) == [100 - round(100 * share), round(100 * share)]


def test_lambda_has_no_unit():
    strategy = Ascmr(lambda_=0.7, weights=CLASS_ONLY)
    assert bought_by_cell(strategy, two_cells(), 60) == bought_by_cell(strategy, two_cells(gain=1000), 60)


def test_bought_pairs_count_as_holdings_of_their_cell():
    flat = Ascmr(weights=dict.fromkeys(PARTS, 0))
    assert bought_by_cell(flat, two_cells(), 60, bought=np.arange(40)) == [10, 50]
    assert bought_by_cell(flat, two_cells(), 60, bought=np.arange(200, 360)) == [60, 0]


def test_density_counts_bought_pairs_too_and_the_reasons_say_so():
    block = make_block(np.arange(40), np.repeat([0, 3], [10, 30]))
    selection = choose(Ascmr(), [block], bought=np.arange(10, 20), n=8, seed=0, round_index=1)
    cells = selection.reasons["cell"]
    assert selection.reasons["cell_density"].tolist() == [{0: 0.25, 3: 0.75}[cell] for cell in cells]
    assert selection.reasons["cell_share"] == pytest.approx([{0: 0.25, 3: 0.75}[cell] for cell in cells])
    assert selection.reasons["cell_bought"].tolist() == [{0: 0, 3: 10}[cell] for cell in cells]
    assert selection.reasons["cell_budget"].tolist() == [Counter(cells.tolist())[cell] for cell in cells]
    assert set(PARTS) | {"informativeness", "centre_distance", "signature"} <= set(selection.reasons)


def test_a_small_cell_overflows_into_the_others():
    block = make_block(np.arange(103), np.repeat([0, 1], [3, 100]), **{"class": np.repeat([5.0, 0.0], [3, 100])})
    assert bought_by_cell(Ascmr(lambda_=0.01), block, 20) == [3, 17]


def test_equal_cells_take_turns_by_seed_and_round():
    block = make_block(np.arange(40), np.repeat(np.arange(4), 10))
    picks = [choose(Ascmr(), [block], bought=NOTHING, n=1, seed=s, round_index=k).reasons["cell"][0] for s in range(8) for k in (1, 2)]
    expected = [np.argmin(tie_hash(np.arange(4), seed=s, round_index=k, purpose="cell")) for s in range(8) for k in (1, 2)]
    assert picks == expected
    assert len(set(picks)) > 1


# ---- inside a cell


def test_most_informative_or_nearest_first():
    worth, distance = np.array([0.1, 0.9, 0.5, 0.3]), np.array([0.2, 0.8, 0.1, 0.4])
    block = make_block([10, 11, 12, 13], np.zeros(4, int), **{"class": worth}, centre_distance=distance)
    pick = lambda **settings: choose(Ascmr(**settings), [block], bought=NOTHING, n=2, seed=0, round_index=1)
    assert pick(within="informative").pair_ids_n.tolist() == [11, 12]
    assert pick().pair_ids_n.tolist() == [12, 10]
    assert pick(within="typical").pair_ids_n.tolist() == [12, 10]
    assert pick(within="typical").utility_n.tolist() == [-0.1, -0.2]


def test_any_pair_of_a_cell_may_come_first():
    block = make_block(np.arange(400), np.repeat([0, 1], 200), **{"class": np.linspace(0, 1, 400)}, centre_distance=np.linspace(1, 0, 400))
    picks = [choose(Ascmr(within="random"), [block], bought=NOTHING, n=40, seed=seed, round_index=1).pair_ids_n for seed in range(20)]
    assert 180 < np.mean(picks) < 220, "neither the near nor the informative ones"
    assert len(np.unique(picks)) > 300


@pytest.mark.parametrize("candidates", [1, 4, 16])
def test_a_place_goes_to_the_nearest_of_so_many_pairs_drawn_at_random(candidates):
    cells, size = 40, 500
    rank = np.tile(np.arange(size), cells)
    block = make_block(np.arange(cells * size), np.repeat(np.arange(cells), size), centre_distance=rank / size, signature=rank % 256)
    strategy = Ascmr(candidates=candidates, weights=dict.fromkeys(PARTS, 0))
    ranks = [rank[choose(strategy, [block], bought=NOTHING, n=cells, seed=seed, round_index=1).pair_ids_n] for seed in range(10)]
    # the least of so many uniform draws; their number is itself Poisson, so that of an empty draw the nearest pair of all comes
    expected = (1 - np.exp(-candidates) * (1 + candidates)) / candidates
    assert np.mean(ranks) / size == pytest.approx(expected, rel=0.15)
    assert np.mean(choose(strategy, [block], bought=NOTHING, n=cells * size, seed=0, round_index=1).utility_n >= -1) == 1, (
        "all compete for all places"
    )


@pytest.mark.parametrize("variant", ["kl", "penalised"])
def test_a_clump_gets_one_pair_while_other_signatures_are_left(variant):
    signature = np.array([7] * 50 + list(range(10, 20)))
    block = make_block(np.arange(60), np.zeros(60, int), signature=signature, **{"class": np.repeat([9.0, 0.0], [50, 10])})
    for n, from_clump in ((1, 1), (5, 1), (11, 1), (13, 3)):
        chosen = choose(Ascmr(variant=variant), [block], bought=NOTHING, n=n, seed=0, round_index=1)
        assert (chosen.reasons["signature"] == 7).sum() == from_clump
    # and none once a pair of it is bought
    chosen = choose(Ascmr(variant=variant), [block], bought=np.array([4]), n=10, seed=0, round_index=1)
    assert (chosen.reasons["signature"] == 7).sum() == 0


def test_a_cell_that_is_one_clump_does_not_get_its_share_in_copies():
    # the same signature number in another cell is another region
    block = make_block(np.arange(200), np.repeat([0, 1], 100), signature=np.concatenate([np.full(100, 3), np.arange(100)]))
    assert bought_by_cell(Ascmr(), block, 40) == [1, 39]
    assert bought_by_cell(Ascmr(), block, 110) == [10, 100]


def test_penalised_prefers_sparse_regions_as_lambda_grows():
    rng = np.random.default_rng(0)
    density, worth = rng.random(300), rng.normal(size=300)
    block = make_block(np.arange(300), np.zeros(300, int), density=density, **{"class": worth})
    means = [
        choose(Ascmr(variant="penalised", lambda_=lambda_), [block], bought=NOTHING, n=30, seed=0, round_index=1).reasons["density"].mean()
        for lambda_ in (0.0, 1.0, 10.0, 1e4)
    ]
    assert means == sorted(means, reverse=True)
    assert means[-1] == pytest.approx(np.sort(density)[:30].mean(), abs=1e-3)
    best = choose(Ascmr(variant="penalised", lambda_=0), [block], bought=NOTHING, n=30, seed=0, round_index=1)
    assert set(best.pair_ids_n.tolist()) == set(np.argsort(-worth)[:30].tolist())


# ---- what it reads, and what it refuses


def test_a_part_of_weight_zero_is_not_read():
    place = ("cell", "centre_distance", "signature")
    assert Ascmr().needs == (*PARTS, *place)
    assert Ascmr(weights=CLASS_ONLY).needs == ("class", *place)
    assert Ascmr(variant="penalised", weights={"class": 0}).needs == ("intra", "inter", *place, "density")
    block = make_block([1, 2], [0, 0], **{"class": [0.0, 1.0]})
    bare = ScoreBlock(block.pair_ids_B, {name: block.columns[name] for name in ("class", *place)})
    assert choose(Ascmr(weights=CLASS_ONLY, within="informative"), [bare], bought=NOTHING, n=1, seed=0, round_index=1).pair_ids_n.tolist() == [2]


def test_settings_survive_a_round_trip():
    strategy = Ascmr(weights={"class": 0.5, "intra": 0})
    assert strategy.weights == Weights(intra=0, inter=1, class_=0.5)
    dumped = strategy.model_dump(mode="json")
    assert dumped["weights"] == {"intra": 0, "inter": 1, "class": 0.5}
    assert TypeAdapter(AnyStrategy).validate_python(dumped) == strategy


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lambda_": 0}, "variant kl expects at least"),
        ({"lambda_": -1}, "lambda_"),
        ({"kappa": -1}, "kappa"),
        ({"weights": {"intra": -1}}, "intra"),
        ({"weights": {"colour": 1}}, "colour"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Ascmr(**wrong)


@pytest.mark.parametrize(("column", "value"), [("cell", -1), ("signature", -2)])
def test_pairs_without_a_place_are_refused(column, value):
    block = make_block([1, 2], [0, 0])
    columns = dict(block.columns) | {column: np.array([0, value])}
    with pytest.raises(StrategyError, match=f"{value}"):
        choose(Ascmr(), [ScoreBlock(block.pair_ids_B, columns)], bought=NOTHING, n=1, seed=0, round_index=1)


def test_cells_of_bought_pairs_alone_and_columns_beyond_the_pool():
    block = make_block(np.arange(6), [0, 0, 0, 0, 5, 5])
    selection = choose(Ascmr(), [block], bought=np.array([4, 5]), n=3, seed=0, round_index=1)
    assert set(selection.pair_ids_n.tolist()) < {0, 1, 2, 3}


def test_shares_in_the_plan_are_plain_arrays():
    strategy = Ascmr(variant="penalised")
    block = make_block(np.arange(6), np.arange(6))
    plan = strategy.plan(strategy.survey(block), strategy.survey(block.only(np.zeros(6, bool))), 2, seed=0, round_index=1)
    assert isinstance(plan, Plan)
    assert all(type(array) is np.ndarray and array.dtype != object for array in plan.shares.values())


# ---- dense clumps of near-duplicates


def clumped_pool(seed):
    """2,000 points, 400 of them in ten tight clumps of higher uncertainty: clump (-1: none), points, entropy."""
    rng = np.random.default_rng(seed)
    clump = np.repeat(np.r_[np.full(1600, -1), np.arange(10)], np.r_[np.ones(1600, int), np.full(10, 40)])
    points = rng.normal(size=(2000, 16))
    points[clump >= 0] = rng.normal(size=(10, 16))[clump[clump >= 0]] + 0.02 * points[clump >= 0]
    return clump, points, rng.normal(size=2000) + 2.5 * (clump >= 0)


def scored_block(points, entropy, *, num_cells, seed, round_index):
    """The columns that scoring writes for these points: cells fitted anew, as before every purchase."""
    found = assign_cells(points, fit_cells(points, num_cells=num_cells, seed=seed, round_index=round_index))
    block = make_block(np.arange(2000), found.cell_B, **{"class": entropy}, signature=found.signature_B, centre_distance=found.centre_distance_B)
    return ScoreBlock(block.pair_ids_B, dict(block.columns) | {"entropy": entropy})


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_entropy_buys_near_duplicates_and_ascmr_does_not(seed):
    clump, points, entropy = clumped_pool(seed)
    blocks = {k: scored_block(points, entropy, num_cells=50 * (k + 1), seed=seed, round_index=k) for k in (1, 2, 3)}

    def share_of_duplicates(strategy):
        bought = NOTHING
        for round_index, block in blocks.items():  # later purchases must not go back to the clumps either
            selection = choose(strategy, [block], bought=bought, n=50, seed=seed, round_index=round_index)
            bought = np.concatenate([bought, selection.pair_ids_n])
        clumps = clump[bought][clump[bought] >= 0]
        return (len(clumps) - len(np.unique(clumps))) / len(bought)

    assert share_of_duplicates(Entropy()) > 0.5
    settings = ({"lambda_": 1}, {}, {"lambda_": 1, "within": "informative"}, {"variant": "penalised"})
    for strategy in (Ascmr(weights=CLASS_ONLY, **setting) for setting in settings):
        assert share_of_duplicates(strategy) < 0.15
