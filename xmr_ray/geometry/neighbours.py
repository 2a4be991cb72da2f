"""The nearest points of every point, behind one interface: exact, by an index (`hnsw.py`), or whichever suits the number of points (`auto.py`)."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xmr_ray.component import Component
from xmr_ray.errors import StrategyError
from xmr_ray.geometry.nearest import Nearest, NeighbourLists

QUERIES_AT_ONCE, POINTS_AT_ONCE = 512, 8192


class Neighbours(Component):
    """How nearest points are found."""

    def search(self, queries_QD: NDArray[Any], points_ND: NDArray[Any], *, k: int, own_rows_Q: NDArray[np.int64] | None = None) -> NeighbourLists:
        """The `k` nearest points of each query, by row; `own_rows_Q` names the point that a query is, which is left out (-1: it is none).

        Equal distances go to the lower row. Raises `StrategyError` if there are fewer than `k` points to be found.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement `search`")


class Exact(Neighbours):
    """Every query against every point, in tiles: no matrix of queries times points is ever held."""

    kind: Literal["exact"] = "exact"

    def search(self, queries_QD: NDArray[Any], points_ND: NDArray[Any], *, k: int, own_rows_Q: NDArray[np.int64] | None = None) -> NeighbourLists:
        """As in `Neighbours`.

        >>> found = Exact().search(np.array([[0.0], [5.0]]), np.array([[0.0], [1.0], [7.0]]), k=2, own_rows_Q=np.array([0, -1]))
        >>> found.ids_QK.tolist(), found.squares_QK.tolist()
        ([[1, 2], [2, 1]], [[1.0, 49.0], [4.0, 16.0]])
        """
        check_number(k, len(points_ND), own_rows_Q)
        nearest = Nearest(queries_QD, k=k, own_ids_Q=own_rows_Q, queries_at_once=QUERIES_AT_ONCE)
        rows_N = np.arange(len(points_ND))
        for start in range(0, len(points_ND), POINTS_AT_ONCE):
            tile = slice(start, start + POINTS_AT_ONCE)
            nearest.add(rows_N[tile], points_ND[tile])
        return nearest.lists()


def check_number(k: int, num_points: int, own_rows_Q: NDArray[np.int64] | None) -> None:
    """Raise `StrategyError` unless `k` neighbours can be found among the points, the query's own one left out."""
    findable = num_points - bool(own_rows_Q is not None and (own_rows_Q >= 0).any())
    if not 1 <= k <= findable:
        raise StrategyError(f"neighbours: asked for {k} of {findable} points; expected 1 to {findable}")
