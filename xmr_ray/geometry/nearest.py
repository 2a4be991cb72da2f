"""The nearest of points that arrive in tiles: what is kept is bounded by the queries, one tile and the k best so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import StrategyError
from xmr_ray.geometry.threads import one_thread
from xmr_ray.types import Floats, Ids

NOBODY = -1
_PAIRS_AT_ONCE = 16_384
# Distances from float32 products are off by some units in the last place of the squared lengths; candidates are taken with this margin.
_MARGIN = 1e-5


@dataclass(frozen=True)
class NeighbourLists:
    """For each query its nearest points, nearest first: their ids (their rows, where points have no ids) and squared Euclidean distances.

    A place that no point fills holds the id -1 and an infinite distance.
    """

    ids_QK: Ids
    squares_QK: Floats


class Nearest:
    """The `k` nearest points of each query among all tiles added so far, exactly.

    Candidates come from float32 products; their distances are then computed from differences, so near-duplicates are told apart,
    as long as no more than `k + 8` of them crowd within float32's rounding of the squared lengths (about 1e-3 of a length).
    Equal distances go to the lower id. `own_ids_Q` names the point that a query is, which is left out (-1: it is none).
    """

    def __init__(self, queries_QD: NDArray[Any], *, k: int, own_ids_Q: Ids | None = None, queries_at_once: int = 512) -> None:
        self._queries_QD = np.ascontiguousarray(queries_QD, dtype=np.float32)
        self._own_Q = np.full(len(self._queries_QD), NOBODY, np.int64) if own_ids_Q is None else np.asarray(own_ids_Q, np.int64)
        self._k, self._block = k, queries_at_once
        self._ids_QK = np.full((len(self._queries_QD), k), NOBODY, np.int64)
        self._squares_QK = np.full((len(self._queries_QD), k), np.inf, np.float32)

    def add(self, ids_T: Ids, points_TD: NDArray[Any]) -> None:
        """Look at further points."""
        tile_TD = np.ascontiguousarray(points_TD, dtype=np.float32)
        if len(tile_TD) == 0:
            return
        halves_T = _halves(tile_TD)
        with one_thread():
            for start in range(0, len(self._queries_QD), self._block):
                self._add_block(slice(start, start + self._block), np.asarray(ids_T, np.int64), tile_TD, halves_T)

    def lists(self) -> NeighbourLists:
        """What was found."""
        return NeighbourLists(self._ids_QK, self._squares_QK)

    def _add_block(self, block: slice, ids_T: Ids, tile_TD: Floats, halves_T: Floats) -> None:
        queries_BD, own_B, squares_BK = self._queries_QD[block], self._own_Q[block], self._squares_QK[block]
        halves_B = _halves(queries_BD)
        # |q - p|^2 <= limit as |p|^2 / 2 - qp <= limit / 2 - |q|^2 / 2: one product and one comparison for most of the tile.
        sides_BT = queries_BD @ tile_TD.T
        np.subtract(halves_T, sides_BT, out=sides_BT)
        limits_B = squares_BK[:, -1] / 2 - halves_B + np.float32(_MARGIN) * (halves_B + halves_T.max())
        rows, columns = _candidates(sides_BT, limits_B, most=2 * self._k + 8)
        others = np.flatnonzero((ids_T[columns] != own_B[rows]) | (own_B[rows] == NOBODY))
        rows, columns = rows[others], columns[others]
        if len(rows) == 0:
            return
        touched, row_of, counts = np.unique(rows, return_inverse=True, return_counts=True)
        place_in_row = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        new_ids = np.full((len(touched), counts.max()), NOBODY, np.int64)
        new_squares = np.full(new_ids.shape, np.inf, np.float32)
        new_ids[row_of, place_in_row] = ids_T[columns]
        new_squares[row_of, place_in_row] = _squares_of(queries_BD, tile_TD, rows, columns)
        ids_BK = self._ids_QK[block]
        kept = merge_lists([NeighbourLists(ids_BK[touched], squares_BK[touched]), NeighbourLists(new_ids, new_squares)], k=self._k)
        ids_BK[touched], squares_BK[touched] = kept.ids_QK, kept.squares_QK


def merge_lists(parts: Sequence[NeighbourLists], *, k: int) -> NeighbourLists:
    """The `k` nearest of several lists of the same queries, whatever their order; the parts hold different points.

    >>> near = NeighbourLists(np.array([[4, 9]]), np.array([[1.0, 3.0]], dtype=np.float32))
    >>> far = NeighbourLists(np.array([[2, 7]]), np.array([[3.0, 5.0]], dtype=np.float32))
    >>> merge_lists([near, far], k=3).ids_QK.tolist()
    [[4, 2, 9]]
    """
    ids_QA = np.concatenate([part.ids_QK for part in parts], axis=1)
    squares_QA = np.concatenate([part.squares_QK for part in parts], axis=1)
    missing = k - ids_QA.shape[1]
    if missing > 0:
        ids_QA = np.pad(ids_QA, ((0, 0), (0, missing)), constant_values=NOBODY)
        squares_QA = np.pad(squares_QA, ((0, 0), (0, missing)), constant_values=np.inf)
    order_QK = np.lexsort((ids_QA, squares_QA), axis=1)[:, :k]
    return NeighbourLists(np.take_along_axis(ids_QA, order_QK, axis=1), np.take_along_axis(squares_QA, order_QK, axis=1))


def without_own(lists: NeighbourLists, own_ids_Q: Ids, *, k: int) -> NeighbourLists:
    """The lists without the point that each query is, cut or filled up to `k`."""
    own_QA = (lists.ids_QK == own_ids_Q[:, None]) & (lists.ids_QK != NOBODY)
    found = NeighbourLists(np.where(own_QA, NOBODY, lists.ids_QK), np.where(own_QA, np.float32(np.inf), lists.squares_QK))
    return merge_lists([found], k=k)


def measure_recall(found: NeighbourLists, exact: NeighbourLists) -> float:
    """Share of places filled by a point that is no farther than the exact search's last one; so equal distances are no misses.

    >>> exact = NeighbourLists(np.array([[1, 2]]), np.array([[1.0, 2.0]], dtype=np.float32))
    >>> measure_recall(NeighbourLists(np.array([[1, 5]]), np.array([[1.0, 2.5]], dtype=np.float32)), exact)
    0.5
    """
    if exact.squares_QK.size == 0:
        return 1.0
    if not np.isfinite(exact.squares_QK).all():
        raise StrategyError("neighbours: recall is measured against lists that are not full; ask for fewer neighbours than there are other points")
    limits_Q = exact.squares_QK[:, -1].astype(np.float64) * (1 + 1e-4) + np.finfo(np.float32).tiny
    return float((found.squares_QK <= limits_Q[:, None]).mean())


def _halves(points_BD: Floats) -> Floats:
    return np.asarray(np.einsum("bd,bd->b", points_BD, points_BD) / 2, np.float32)


def _candidates(sides_BT: Floats, limits_B: Floats, *, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns at or below each row's limit, by row; of a row with more than `most` its `most` lowest, the first ones of equals."""
    below_BT = sides_BT <= limits_B[:, None]
    crowded = np.flatnonzero(np.count_nonzero(below_BT, axis=1) > most)
    if len(crowded):
        crowded_CT = sides_BT[crowded]
        lowest_CT = crowded_CT <= np.partition(crowded_CT, most - 1, axis=1)[:, most - 1 : most]
        tied = np.flatnonzero(np.count_nonzero(lowest_CT, axis=1) > most)
        for row in tied:
            lowest_CT[row] = False
            lowest_CT[row, np.argsort(crowded_CT[row], kind="stable")[:most]] = True
        below_BT[crowded] = lowest_CT
    rows, columns = np.divmod(np.flatnonzero(below_BT), below_BT.shape[1])
    return rows, columns


def _squares_of(queries_BD: Floats, tile_TD: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    squares = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        some = slice(start, start + _PAIRS_AT_ONCE)
        differences = queries_BD[rows[some]] - tile_TD[columns[some]]
        squares[some] = np.einsum("pd,pd->p", differences, differences)
    return squares
