"""The nearest points of every point, behind one interface."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xmr_ray.component import Component
from xmr_ray.errors import StrategyError
from xmr_ray.geometry.distances import squared_distances
from xmr_ray.geometry.threads import one_thread
from xmr_ray.types import Floats


@dataclass(frozen=True)
class NeighbourLists:
    """For each query its nearest points, nearest first: their rows and their squared Euclidean distances."""

    rows_QK: NDArray[np.int64]
    squares_QK: Floats


class Neighbours(Component):
    """How nearest points are found."""

    def search(self, queries_QD: NDArray[Any], points_ND: NDArray[Any], *, k: int, own_rows_Q: NDArray[np.int64] | None = None) -> NeighbourLists:
        """The `k` nearest points of each query; `own_rows_Q` names the point that a query is, which is left out (-1: it is none).

        Equal distances go to the lower row. Raises `StrategyError` if there are fewer than `k` points to be found.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement `search`")


class Exact(Neighbours):
    """Every query against every point, in tiles: no matrix of queries times points is ever held.

    Candidates come from float32 products; their distances are then computed from differences, so near-duplicates are told apart.
    """

    kind: Literal["exact"] = "exact"
    queries_at_once: int = Field(512, ge=1)
    points_at_once: int = Field(8192, ge=1)

    def search(self, queries_QD: NDArray[Any], points_ND: NDArray[Any], *, k: int, own_rows_Q: NDArray[np.int64] | None = None) -> NeighbourLists:
        """As in `Neighbours`.

        >>> found = Exact().search(np.array([[0.0], [5.0]]), np.array([[0.0], [1.0], [7.0]]), k=2, own_rows_Q=np.array([0, -1]))
        >>> found.rows_QK.tolist(), found.squares_QK.tolist()
        ([[1, 2], [2, 1]], [[1.0, 49.0], [4.0, 16.0]])
        """
        queries, points = np.asarray(queries_QD, dtype=np.float32), np.asarray(points_ND, dtype=np.float32)
        own_Q = np.full(len(queries), -1, np.int64) if own_rows_Q is None else own_rows_Q
        findable = len(points) - bool((own_Q >= 0).any())
        if not 1 <= k <= findable or len(points) >= 1 << 32:
            raise StrategyError(f"neighbours: asked for {k} of {findable} points; expected 1 to {min(findable, (1 << 32) - 1)}")
        found = [
            self._search_block(queries[i : i + self.queries_at_once], points, own_Q[i : i + self.queries_at_once], k) for i in self._starts(queries)
        ]
        if not found:
            return NeighbourLists(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        return NeighbourLists(np.concatenate([part.rows_QK for part in found]), np.concatenate([part.squares_QK for part in found]))

    def _starts(self, queries_QD: Floats) -> range:
        return range(0, len(queries_QD), self.queries_at_once)

    def _search_block(self, queries_BD: Floats, points_ND: Floats, own_B: NDArray[np.int64], k: int) -> NeighbourLists:
        best_BK = np.empty((len(queries_BD), 0), np.uint64)
        for start in range(0, len(points_ND), self.points_at_once):
            tile_TD = points_ND[start : start + self.points_at_once]
            with one_thread():
                squares_BT = squared_distances(queries_BD, tile_TD)
            mine = np.flatnonzero((own_B >= start) & (own_B < start + len(tile_TD)))
            squares_BT[mine, own_B[mine] - start] = np.inf
            best_BK = _keep_lowest(np.concatenate([best_BK, _pack(squares_BT, start)], axis=1), k)
        rows_BK = (best_BK & np.uint64(0xFFFFFFFF)).astype(np.int64)
        squares_BK = np.stack([((points_ND[rows] - query) ** 2).sum(axis=1) for query, rows in zip(queries_BD, rows_BK, strict=True)])
        order_BK = np.lexsort((rows_BK, squares_BK), axis=1)
        return NeighbourLists(np.take_along_axis(rows_BK, order_BK, axis=1), np.take_along_axis(squares_BK, order_BK, axis=1))


def _pack(squares_BT: Floats, start: int) -> NDArray[np.uint64]:
    """Keys that sort by distance, then by row: the bits of a float32 that is not negative sort like the number."""
    keys_BT = squares_BT.view(np.uint32).astype(np.uint64)
    keys_BT <<= np.uint64(32)
    keys_BT |= np.arange(start, start + squares_BT.shape[1], dtype=np.uint64)
    return keys_BT


def _keep_lowest(keys_BT: NDArray[np.uint64], k: int) -> NDArray[np.uint64]:
    return keys_BT if keys_BT.shape[1] <= k else np.partition(keys_BT, k - 1, axis=1)[:, :k]
