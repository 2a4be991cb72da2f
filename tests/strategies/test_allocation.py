import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from xmr_ray.geometry.hashing import tie_hash
from xmr_ray.strategies.allocation import keep_distinct_best, log_weights, scale_gains, shares_of, split_budget

DENSITY = np.array([0.4, 0.3, 0.2, 0.1])
GAIN = np.array([-0.5, 0.2, 1.5, 0.9])


def shares(density, gain, lambda_, kappa=1.0):
    return shares_of(log_weights(density, gain, lambda_=lambda_, kappa=kappa))


def divergence(q, p):
    held = q > 0
    return float((q[held] * np.log(q[held] / p[held])).sum())


def ties(num_cells):
    return tie_hash(np.arange(num_cells), seed=0, round_index=1, purpose="cell")


# ---- shares


def test_large_lambda_gives_the_density_and_small_lambda_the_best_cell():
    np.testing.assert_allclose(shares(DENSITY, GAIN, 1e9), DENSITY, atol=1e-8)
    np.testing.assert_allclose(shares(DENSITY, GAIN, 1e9, kappa=0.5), np.sqrt(DENSITY) / np.sqrt(DENSITY).sum(), atol=1e-8)
    assert shares(DENSITY, GAIN, 1e-6).tolist() == [0, 0, 1, 0]


def test_kappa_zero_gives_equal_cells_and_empty_cells_get_nothing():
    np.testing.assert_allclose(shares(np.array([0.9, 0.0, 0.1]), np.zeros(3), 1.0, kappa=0.0), [0.5, 0, 0.5])
    assert shares(np.zeros(3), np.zeros(3), 1.0).tolist() == [0, 0, 0]


def test_divergence_from_the_density_falls_as_lambda_grows():
    divergences = [divergence(shares(DENSITY, GAIN, lambda_), DENSITY) for lambda_ in np.geomspace(0.01, 100, 40)]
    assert (np.diff(divergences) <= 1e-12).all()
    assert divergences[0] > 1
    assert divergences[-1] < 1e-3


@pytest.mark.parametrize("lambda_", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shares_maximise_gain_less_divergence(lambda_, seed):
    rng = np.random.default_rng(seed)
    density, gain = rng.dirichlet(np.ones(5)), rng.normal(size=5)

    def loss(logits):
        q = np.exp(logits - logits.max())
        q /= q.sum()
        return -(q @ gain) + lambda_ * divergence(q, density)

    found = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9})
    q = shares(density, gain, lambda_)
    assert loss(np.log(q)) <= found.fun + 1e-9
    best = np.exp(found.x - found.x.max())
    np.testing.assert_allclose(q, best / best.sum(), atol=1e-3)


def test_gains_are_scaled_by_their_weights():
    gain, weight = np.array([2.0, -1.0, 4.0, 1e9]), np.array([10, 30, 60, 0])
    repeated = np.repeat(gain[:3], weight[:3])
    np.testing.assert_allclose(scale_gains(gain, weight)[:3], (gain[:3] - repeated.mean()) / repeated.std())
    assert scale_gains(np.full(3, 0.1), np.array([1, 2, 3])).tolist() == [0, 0, 0]
    assert scale_gains(np.zeros(0), np.zeros(0, np.int64)).tolist() == []


# ---- budgets


def slow_split(n, weights, held, room, tie):
    """The rule in plain Python: fill the cells that lack more than their room, split again; then largest remainders."""
    budget, cells = [0] * len(room), [m for m, w in enumerate(weights) if w > 0]
    while n:
        norm, total = sum(weights[m] for m in cells), sum(held[m] for m in cells) + n
        lacking = {m: max(0.0, total * weights[m] / norm - held[m]) for m in cells}
        ideal = {m: n * lacking[m] / sum(lacking.values()) for m in cells}
        for m in cells:  # too close to call in floating point
            assume(abs(ideal[m] - room[m]) > 1e-6 or ideal[m] == 0)
            assume(abs(ideal[m] - round(ideal[m])) > 1e-6 or ideal[m] == 0)
        full = [m for m in cells if ideal[m] > room[m]]
        if not full:
            rest = {m: ideal[m] - int(ideal[m]) for m in cells}
            first = sorted(cells, key=lambda m: (-round(rest[m], 9), tie[m]))[: n - sum(map(int, ideal.values()))]
            return [budget[m] + (int(ideal[m]) + (m in first) if m in cells else 0) for m in range(len(room))]
        for m in full:
            budget[m] = room[m]
        n -= sum(room[m] for m in full)
        cells = [m for m in cells if m not in full]
    return budget


cells_of_a_pool = st.lists(st.tuples(st.floats(0.01, 10), st.integers(0, 20), st.integers(0, 12)), min_size=1, max_size=8)


@settings(max_examples=100)
@given(cells=cells_of_a_pool, share=st.floats(0, 1))
def test_budgets_equal_a_slow_loop(cells, share):
    weights, held, room = (list(column) for column in zip(*cells, strict=True))
    n = int(share * sum(room))
    tie = ties(len(cells))
    budget = split_budget(n, log_weights_M=np.log(weights), held_M=np.array(held), room_M=np.array(room), ties_M=tie)
    assert budget.tolist() == slow_split(n, weights, held, room, tie.tolist())


@settings(max_examples=100)
@given(cells=cells_of_a_pool, share=st.floats(0, 1), sharpness=st.sampled_from([0.0, 1.0, 30.0, 1e6]))
def test_budgets_sum_to_n_within_the_room(cells, share, sharpness):
    weights, held, room = (np.array(column) for column in zip(*cells, strict=True))
    n = round(share * int(room.sum()))
    budget = split_budget(n, log_weights_M=sharpness * np.log(weights), held_M=held, room_M=room, ties_M=ties(len(cells)))
    assert budget.sum() == n
    assert ((budget >= 0) & (budget <= room)).all()


def split(n, density, gain=None, *, held=None, room=None, lambda_=1.0):
    zeros = np.zeros(len(density))
    logs = log_weights(density, zeros if gain is None else gain, lambda_=lambda_, kappa=1.0)
    held = zeros.astype(int) if held is None else np.array(held)
    return split_budget(
        n, log_weights_M=logs, held_M=held, room_M=np.full(len(density), 1000) if room is None else np.array(room), ties_M=ties(len(density))
    ).tolist()


def test_budgets_by_hand():
    assert split(100, DENSITY) == [40, 30, 20, 10]
    # 100 labels in all: targets 40, 30, 20, 10; the second cell has more than it should, so the others' wants 30, 20, 10 share 50 pairs.
    assert split(50, DENSITY, held=[10, 40, 0, 0]) == [25, 0, 17, 8]
    # cells 0 and 1 overflow; what is left goes to 2 and 3 as 2 to 1
    assert split(100, DENSITY, room=[10, 0, 1000, 1000]) == [10, 0, 60, 30]
    assert split(7, DENSITY, room=[1, 2, 1, 3]) == [1, 2, 1, 3]


def test_greedy_budgets_fill_the_best_cells_in_order():
    room = [5, 6, 7, 8]
    assert split(7, DENSITY, GAIN, lambda_=1e-6, room=room) == [0, 0, 7, 0]
    assert split(17, DENSITY, GAIN, lambda_=1e-6, room=room) == [0, 2, 7, 8]


def test_cells_without_pairs_get_nothing():
    assert split(10, np.array([0.0, 0.5, 0.0, 0.5])) == [0, 5, 0, 5]
    assert split(0, np.zeros(4)) == [0, 0, 0, 0]


def test_equal_remainders_go_by_the_tie():
    budgets = [
        split_budget(
            3, log_weights_M=np.zeros(8), held_M=np.zeros(8, int), room_M=np.full(8, 4), ties_M=tie_hash(np.arange(8), seed=s, round_index=1)
        )
        for s in range(50)
    ]
    assert all(sorted(budget.tolist()) == [0] * 5 + [1] * 3 for budget in budgets)
    assert (np.sum(budgets, axis=0) > 0).all()


# ---- pairs of a cell


@st.composite
def candidate_rows(draw):
    """Groups that lie in one slot each, utilities with ties, distinct hashes, and what is held of each group."""
    num = draw(st.integers(0, 30))
    groups = np.array(draw(st.lists(st.integers(0, 8), min_size=num, max_size=num)), np.int64)
    utility = np.array(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=num, max_size=num)))
    used = np.array(draw(st.lists(st.sampled_from([0, 0, 1, 3]), min_size=9, max_size=9)), np.int64)
    quota = np.array(draw(st.lists(st.integers(0, 6), min_size=3, max_size=3)), np.int64)
    return {
        "groups_K": groups,
        "slots_K": groups % 3,
        "used_K": used[groups],
        "utility_K": utility,
        "hashes_K": tie_hash(np.arange(num), seed=1, round_index=1),
    }, quota


def slow_best(rows, quota):
    kept = set()
    num = len(rows["groups_K"])
    before = lambda i: (-rows["utility_K"][i], rows["hashes_K"][i])
    rank = {i: rows["used_K"][i] + sum(rows["groups_K"][j] == rows["groups_K"][i] and before(j) < before(i) for j in range(num)) for i in range(num)}
    for slot in range(3):
        inside = sorted((i for i in range(num) if rows["slots_K"][i] == slot), key=lambda i: (rank[i], *before(i)))
        kept |= set(inside[: quota[slot]])
    return kept


@settings(max_examples=80)
@given(drawn=candidate_rows())
def test_distinct_best_equals_a_slow_loop(drawn):
    rows, quota = drawn
    assert set(keep_distinct_best(**rows, quota_S=quota).tolist()) == slow_best(rows, quota)


@settings(max_examples=80)
@given(drawn=candidate_rows(), cut=st.lists(st.integers(0, 2), min_size=30, max_size=30))
def test_best_of_the_best_of_parts_is_the_best_of_all(drawn, cut):
    rows, quota = drawn
    part_of = np.array(cut[: len(rows["groups_K"])], np.int64)

    def keep(inside):
        return inside[keep_distinct_best(**{name: values[inside] for name, values in rows.items()}, quota_S=quota)]

    parts = [keep(np.flatnonzero(part_of == part)) for part in range(3)]
    nested = keep(np.concatenate([keep(np.concatenate(parts[:2])), parts[2]]))
    assert set(nested.tolist()) == set(keep(np.concatenate(parts)).tolist()) == slow_best(rows, quota)
