"""How a budget is split over cells: the density-aware shares, whole numbers that add up, and which pairs of a cell come first.

Source: [ASCMR] for the idea (informativeness under a semantic-density regulariser); formulas and rounding are this project's reconstruction.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


def scale_gains(gain_M: Doubles, weight_M: NDArray[np.int64]) -> Doubles:
    """Gains of weighted mean 0 and weighted standard deviation 1; constant gains, and gains of weight 0, become 0.

    >>> scale_gains(np.array([1.0, 3.0, 99.0]), np.array([5, 5, 0])).tolist()
    [-1.0, 1.0, 0.0]
    """
    share_M = weight_M / max(int(weight_M.sum()), 1)
    centred_M = np.where(weight_M > 0, gain_M - share_M @ gain_M, 0.0)
    spread = np.sqrt(share_M @ centred_M**2)
    return centred_M / spread if spread > 1e-12 else np.zeros_like(gain_M, dtype=np.float64)


def log_weights(density_M: Doubles, gain_M: Doubles, *, lambda_: float, kappa: float) -> Doubles:
    """Logarithm of pi^kappa exp(g / lambda) (M,), minus infinity where a cell holds nothing; with `lambda_` > 0."""
    held_M = density_M > 0
    logs_M = kappa * np.log(np.where(held_M, density_M, 1.0)) + gain_M / lambda_
    return np.where(held_M, logs_M, -np.inf)


def shares_of(log_weights_M: Doubles) -> Doubles:
    """Weights as shares of 1 (M,): with `log_weights` the q that maximises sum(q g) - lambda KL(q || pi^kappa), pi^kappa normalised.

    >>> density = np.array([0.5, 0.25, 0.25])
    >>> shares_of(log_weights(density, np.array([0.0, 0.0, np.log(2.0)]), lambda_=1.0, kappa=1.0)).round(6).tolist()
    [0.4, 0.2, 0.4]
    """
    if not np.isfinite(log_weights_M).any():
        return np.zeros_like(log_weights_M)
    weights_M = np.exp(log_weights_M - log_weights_M.max())
    return weights_M / weights_M.sum()


def split_budget(n: int, *, log_weights_M: Doubles, held_M: Ints, room_M: Ints, ties_M: NDArray[np.uint64]) -> Ints:
    """How many of `n` new pairs each cell gets (M,), never more than its room.

    Each cell should end with its share of all pairs held and bought; what it lacks of that, max(0, target - held), is scaled to `n` and
    rounded by largest remainder, equal remainders by `ties_M` (lowest first). Cells that lack more than their room are filled, and what
    is left is split over the others by the same rule, their shares and holdings alone.

    `n` must not be more than the room of the cells that have a weight.

    >>> room = np.array([9, 9, 2])
    >>> even = np.zeros(3)
    >>> split_budget(6, log_weights_M=even, held_M=np.array([3, 0, 0]), room_M=room, ties_M=np.arange(3, dtype=np.uint64)).tolist()
    [1, 3, 2]
    """
    open_M = np.isfinite(log_weights_M)
    assert n <= room_M[open_M].sum(), f"{n} pairs do not fit into {room_M[open_M].sum()}"
    budget_M = np.zeros(len(room_M), np.int64)
    while n > 0:
        target_M = (held_M[open_M].sum() + n) * shares_of(np.where(open_M, log_weights_M, -np.inf))
        lacking_M = np.where(open_M, np.maximum(target_M - held_M, 0.0), 0.0)
        ideal_M = n * (lacking_M / lacking_M.sum())
        full_M = open_M & (ideal_M > room_M)
        if not full_M.any():
            return budget_M + _round(ideal_M, n, room_M=np.where(open_M, room_M, 0), ties_M=ties_M)
        budget_M[full_M] = room_M[full_M]
        n -= int(room_M[full_M].sum())
        open_M &= ~full_M
    return budget_M


def _round(ideal_M: Doubles, n: int, *, room_M: Ints, ties_M: NDArray[np.uint64]) -> Ints:
    # A share that is whole but for the rounding of its sum counts as whole.
    floor_M = np.minimum(np.floor(ideal_M + 1e-9).astype(np.int64), room_M)
    remainder_M = np.where(floor_M < room_M, np.maximum(ideal_M - floor_M, 0.0).round(9), -1.0)
    order_M = np.lexsort((ties_M, -remainder_M))
    floor_M[order_M[: n - int(floor_M.sum())]] += 1
    return floor_M


def keep_distinct_best(*, slots_K: Ints, groups_K: Ints, used_K: Ints, utility_K: Doubles, hashes_K: NDArray[np.uint64], quota_S: Ints) -> Ints:
    """Rows of the `quota_S[s]` best pairs of each slot s; a group's second pair comes after the first pairs of all groups of the slot.

    Pairs are ordered by (rank within their group, utility, hash); `used_K` is added to the rank, for pairs of the group that are held
    already. A group lies in one slot. Keeping the best of parts and then the best of what was kept is the same as keeping the best of
    all: whatever comes before a pair in its part has, rank by rank in its own group, a pair in the whole that comes before it, too.

    >>> rows = dict(slots_K=np.zeros(4, int), used_K=np.zeros(4, int), hashes_K=np.arange(4, dtype=np.uint64))
    >>> utility = np.array([0.9, 0.8, 0.1, 0.7])
    >>> keep_distinct_best(**rows, groups_K=np.array([5, 5, 6, 5]), utility_K=utility, quota_S=np.array([3])).tolist()
    [0, 2, 1]
    """
    in_group = np.lexsort((hashes_K, -utility_K, groups_K))
    ranks_K = used_K.copy()
    ranks_K[in_group] += _positions(groups_K[in_group])
    in_slot = np.lexsort((hashes_K, -utility_K, ranks_K, slots_K))
    slots = slots_K[in_slot]
    return in_slot[_positions(slots) < quota_S[slots]]


def _positions(keys_K: Ints) -> Ints:
    """Place of each element within its run of equal keys, from 0."""
    places_K = np.arange(len(keys_K))
    starts = np.flatnonzero(np.diff(keys_K, prepend=keys_K[:1] - 1))
    return places_K - np.repeat(starts, np.diff(starts, append=len(keys_K)))
