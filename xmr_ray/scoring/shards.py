"""Index shards of a round's points: which pairs a shard holds depends on the pool and the seed alone; shards are saved, and loaded again."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmr_ray import storage
from xmr_ray.errors import StorageError
from xmr_ray.geometry.hashing import derive_key, tie_hash
from xmr_ray.geometry.hnsw import Hnsw, HnswIndex
from xmr_ray.geometry.nearest import NeighbourLists, merge_lists
from xmr_ray.scoring.points import Points, PointSource
from xmr_ray.types import Descriptor, Ids


@dataclass(frozen=True)
class ShardPlan:
    """All that a shard is made from, and where it is saved."""

    source: PointSource
    hnsw: Hnsw
    seed: int
    version: str

    @property
    def num_shards(self) -> int:
        """Shards of this pool."""
        return self.hnsw.num_shards(self.source.num_points)

    def shard_of(self, ids_B: Ids) -> NDArray[np.int64]:
        """The shard of each pair, (B,)."""
        hashes_B = tie_hash(ids_B, seed=self.seed, round_index=0, purpose="shard")
        return (hashes_B % np.uint64(self.num_shards)).astype(np.int64)

    def index_file(self, shard: int) -> str:
        """Path of one saved shard; its receipt, written after it, lies beside it."""
        return storage.join(self.source.root, "density", "index", f"shard-{shard:04d}.bin")

    def receipt_file(self, shard: int) -> str:
        """Path of the receipt: version, dimensions and hash of the shard that is saved."""
        return storage.join(self.source.root, "density", "index", f"shard-{shard:04d}.json")


class IndexShards:
    """Some shards in memory, and searches among all of them."""

    def __init__(self, indexes: Sequence[HnswIndex]) -> None:
        self._indexes = tuple(indexes)

    @classmethod
    def open(cls, plan: ShardPlan, shards: Sequence[int]) -> "IndexShards":
        """Load the shards that are saved; build the others, in one pass over the points, and save them."""
        found = {shard: index for shard in shards if (index := load_shard(plan, shard)) is not None}
        missing = [shard for shard in shards if shard not in found]
        for shard, (built, dim) in build_shards(plan, missing).items():
            save_shard(plan, shard, built, dim=dim)
            found[shard] = built
        return cls([found[shard] for shard in shards])

    def search(self, queries: Points, *, k: int, ef: int) -> NeighbourLists:
        """The `k` nearest pairs that these shards find for each query; a query is no neighbour of its own."""
        return merge_lists([index.search(queries.points_BD, k=k, ef=ef, own_ids_Q=queries.ids_B) for index in self._indexes], k=k)


class LazyShards:
    """Some shards, loaded, or built and saved, when first searched; it can be rebuilt from its arguments at any time."""

    def __init__(self, plan: ShardPlan, shards: Sequence[int]) -> None:
        self._plan, self._shards = plan, shards
        self._opened: IndexShards | None = None

    def search_points(self, queries: Points, k: int, ef: int) -> NeighbourLists:
        """What these shards hold near each query."""
        if self._opened is None:
            self._opened = IndexShards.open(self._plan, self._shards)
        return self._opened.search(queries, k=k, ef=ef)

    def search_descriptor(self, descriptor: Descriptor, k: int, ef: int) -> NeighbourLists:
        """What these shards hold near each pair of a descriptor."""
        return self.search_points(self._plan.source.read(descriptor), k, ef)


def build_shards(plan: ShardPlan, shards: Sequence[int]) -> dict[int, tuple[HnswIndex, int]]:
    """Indexes and their dimensions by shard, each by one thread in the order of the descriptors, so together or alone they are the same."""
    if not shards:
        return {}
    descriptors = plan.source.descriptors
    counts = sum(np.bincount(plan.shard_of(plan.source.read_ids(descriptor)), minlength=plan.num_shards) for descriptor in descriptors)
    built: dict[int, tuple[HnswIndex, int]] = {}
    for descriptor in descriptors:
        points = plan.source.read(descriptor)
        shard_B, dim = plan.shard_of(points.ids_B), points.points_BD.shape[1]
        for shard in shards:
            if shard not in built:
                seed = derive_key(plan.seed, "index", shard)
                built[shard] = plan.hnsw.start_index(dim, capacity=int(np.asarray(counts)[shard]), seed=seed), dim
            mine = shard_B == shard
            built[shard][0].add(points.ids_B[mine], points.points_BD[mine])
    return built


def save_shard(plan: ShardPlan, shard: int, index: HnswIndex, *, dim: int) -> None:
    """Save a shard and then its receipt; a receipt of another version goes first."""
    path, receipt = plan.index_file(shard), plan.receipt_file(shard)
    storage.remove_file(receipt)
    storage.make_folder(os.path.dirname(path))
    if storage.is_local(path):
        temporary = storage.temporary_name(storage.resolve(path)[1])
        _save(index, temporary, path)
        storage.commit_file(temporary, path)
    else:
        with tempfile.TemporaryDirectory() as folder:
            temporary = os.path.join(folder, "index.bin")
            _save(index, temporary, path)
            storage.write_whole(path, storage.read_bytes(temporary))
    content = {"version": plan.version, "dim": dim, "points": len(index), "sha256": storage.digest_file(path)}
    storage.write_whole(receipt, json.dumps(content, indent=2, sort_keys=True).encode())


def load_shard(plan: ShardPlan, shard: int) -> HnswIndex | None:
    """A saved shard; None if there is none of this version, or its bytes are not those that were saved: it is then built again."""
    path, receipt = plan.index_file(shard), plan.receipt_file(shard)
    if not (storage.exists(receipt) and storage.exists(path)):
        return None
    try:
        content = json.loads(storage.read_bytes(receipt))
    except ValueError as error:
        raise StorageError(f"{receipt}: not valid JSON ({error}); remove it to build this shard again") from error
    if content.get("version") != plan.version or content.get("sha256") != storage.digest_file(path):
        return None
    if storage.is_local(path):
        return HnswIndex.load(storage.resolve(path)[1], dim=content["dim"])
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "index.bin")
        storage.write_whole(local, storage.read_bytes(path))
        return HnswIndex.load(local, dim=content["dim"])


def _save(index: HnswIndex, temporary: str, path: str) -> None:
    try:
        index.save(temporary)
    except (OSError, RuntimeError) as error:
        raise StorageError(f"{path}: cannot be written ({error}); free space or check permissions and start again") from error
