"""Approximate neighbours by a graph index (HNSW); the only import of hnswlib.

An index is built by one thread in the order in which points come, so the same points and seed give the same index, bit for bit.
"""

from typing import Any, Literal

import hnswlib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xmr_ray.geometry.nearest import Nearest, NeighbourLists, merge_lists, without_own
from xmr_ray.geometry.neighbours import Neighbours, check_number
from xmr_ray.types import Floats, Ids


class Hnsw(Neighbours):
    """A graph of near points, walked from the top: a search looks at `ef` candidates, not at every point.

    `search` builds one index and takes `ef` as it is. The distributed search splits the points over shards of fixed content, measures
    recall on a sample against exact search, doubles `ef` up to `max_ef` while recall is below `min_recall`, and then searches exactly.
    Source: Malkov and Yashunin 2018.
    """

    kind: Literal["hnsw"] = "hnsw"
    m: int = Field(16, ge=2, description="links of a point in each layer")
    ef_construction: int = Field(100, ge=1, description="candidates looked at when a point is inserted")
    ef: int = Field(64, ge=1, description="candidates looked at by a search, at first")
    max_ef: int = Field(512, ge=1, description="beyond this, exact search is taken")
    min_recall: float = Field(0.95, ge=0, le=1, description="recall on the sample below which ef is doubled")
    points_per_shard: int = Field(50_000, ge=1, description="points of one shard, about; the number of shards depends on nothing else")

    def num_shards(self, num_points: int) -> int:
        """Shards of a pool.

        >>> Hnsw(points_per_shard=100).num_shards(201)
        3
        """
        return max(1, -(-num_points // self.points_per_shard))

    def efs(self, k: int) -> list[int]:
        """The candidates to try, rising: never fewer than the `k` neighbours and the query itself.

        >>> Hnsw(ef=10, max_ef=50).efs(16), Hnsw(ef=10, max_ef=16).efs(16)
        ([17, 34, 50], [])
        """
        tried, ef = [], max(self.ef, k + 1)
        while ef <= self.max_ef:
            tried.append(ef)
            ef = self.max_ef if ef < self.max_ef < 2 * ef else 2 * ef
        return tried

    def start_index(self, dim: int, *, capacity: int, seed: int) -> "HnswIndex":
        """An empty index for at most `capacity` points."""
        index = hnswlib.Index(space="l2", dim=dim)
        index.init_index(max_elements=max(1, capacity), M=self.m, ef_construction=self.ef_construction, random_seed=seed & 0x7FFFFFFF)
        return HnswIndex(index)

    def search(self, queries_QD: NDArray[Any], points_ND: NDArray[Any], *, k: int, own_rows_Q: NDArray[np.int64] | None = None) -> NeighbourLists:
        """As in `Neighbours`, approximately.

        >>> found = Hnsw().search(np.array([[0.0], [5.0]]), np.array([[0.0], [1.0], [7.0]]), k=2, own_rows_Q=np.array([0, -1]))
        >>> found.ids_QK.tolist(), found.squares_QK.tolist()
        ([[1, 2], [2, 1]], [[1.0, 49.0], [4.0, 16.0]])
        """
        check_number(k, len(points_ND), own_rows_Q)
        index = self.start_index(np.shape(points_ND)[1], capacity=len(points_ND), seed=0)
        index.add(np.arange(len(points_ND)), points_ND)
        own_Q = np.full(len(queries_QD), -1, np.int64) if own_rows_Q is None else own_rows_Q
        return index.search(queries_QD, k=k, ef=self.ef, own_ids_Q=own_Q)


class HnswIndex:
    """One index: points with ids, and searches among them."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __len__(self) -> int:
        return int(self._index.get_current_count())

    @classmethod
    def load(cls, path: str, *, dim: int) -> "HnswIndex":
        """An index from a local file that `save` wrote; the caller has checked that the file is whole."""
        index = hnswlib.Index(space="l2", dim=dim)
        index.load_index(path)
        return cls(index)

    def save(self, path: str) -> None:
        """Write the index to a local file."""
        self._index.save_index(path)

    def add(self, ids_B: Ids, points_BD: NDArray[Any]) -> None:
        """Insert points, in their order."""
        if len(ids_B):
            points = np.ascontiguousarray(points_BD, dtype=np.float32)
            self._index.add_items(points, np.ascontiguousarray(ids_B, np.int64).view(np.uint64), num_threads=1)

    def search(self, queries_QD: NDArray[Any], *, k: int, ef: int, own_ids_Q: Ids) -> NeighbourLists:
        """The `k` nearest points of each query that a search with `ef` candidates finds; its own point is left out (-1: it is none).

        Where the index holds fewer points, places stay empty.
        """
        queries = np.ascontiguousarray(queries_QD, dtype=np.float32)
        wanted = min(k + 1, len(self))
        if not len(queries) or not wanted:
            return merge_lists([NeighbourLists(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))], k=k)
        return without_own(self._search(queries, wanted, max(ef, wanted)), own_ids_Q, k=k)

    def _search(self, queries_QD: Floats, wanted: int, ef: int) -> NeighbourLists:
        while True:
            self._index.set_ef(ef)
            try:
                labels_QK, squares_QK = self._index.knn_query(queries_QD, k=wanted, num_threads=1)
            except RuntimeError:  # fewer than asked for were reached, from at least one of the queries
                if ef >= len(self):
                    return self._search_exactly(queries_QD, wanted)
                ef = min(2 * ef, len(self))
            else:
                return NeighbourLists(labels_QK.astype(np.uint64).view(np.int64), squares_QK)

    def _search_exactly(self, queries_QD: Floats, wanted: int) -> NeighbourLists:
        nearest = Nearest(queries_QD, k=wanted)
        ids_N = np.sort(np.array(self._index.get_ids_list(), dtype=np.uint64).view(np.int64))
        for start in range(0, len(ids_N), 8192):
            tile = ids_N[start : start + 8192]
            nearest.add(tile, np.asarray(self._index.get_items(tile.view(np.uint64)), dtype=np.float32))
        return nearest.lists()
