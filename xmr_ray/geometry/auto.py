"""Exact search or the index, by a stated number of points; the union of all backends is the registry."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xmr_ray.geometry.hnsw import Hnsw
from xmr_ray.geometry.nearest import NeighbourLists
from xmr_ray.geometry.neighbours import Exact, Neighbours


class Auto(Neighbours):
    """Exact search up to a number of points, the index beyond: every point is a query, so matrix products win where the pool is small."""

    kind: Literal["auto"] = "auto"
    exact_up_to: int = Field(40_000, ge=0, description="points up to which exact search is taken (benchmarks/density.py)")
    exact: Exact = Exact()
    hnsw: Hnsw = Hnsw()

    def search(self, queries_QD: NDArray[Any], points_ND: NDArray[Any], *, k: int, own_rows_Q: NDArray[np.int64] | None = None) -> NeighbourLists:
        """As in `Neighbours`."""
        return choose_backend(self, len(points_ND)).search(queries_QD, points_ND, k=k, own_rows_Q=own_rows_Q)


AnyNeighbours = Annotated[Exact | Hnsw | Auto, Field(discriminator="kind")]


def choose_backend(neighbours: Exact | Hnsw | Auto, num_points: int) -> Exact | Hnsw:
    """What a backend means for so many points.

    >>> choose_backend(Auto(exact_up_to=10), 10).kind, choose_backend(Auto(exact_up_to=10), 11).kind
    ('exact', 'hnsw')
    """
    if not isinstance(neighbours, Auto):
        return neighbours
    return neighbours.exact if num_points <= neighbours.exact_up_to else neighbours.hnsw
