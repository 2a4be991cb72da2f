"""Local density: a kernel estimate from the nearest neighbours of each train pair in the space that cells look at."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from xmr_ray import storage
from xmr_ray.component import Settings
from xmr_ray.errors import StorageError
from xmr_ray.geometry.auto import AnyNeighbours, Auto
from xmr_ray.geometry.nearest import Nearest, NeighbourLists
from xmr_ray.scoring.outputs import is_current
from xmr_ray.scoring.points import Points, PointSource, write_columns
from xmr_ray.types import Descriptor, Floats, Ids


class DensitySettings(Settings):
    """How the local density of train pairs is found."""

    neighbours: AnyNeighbours = Field(default=Auto(), description="exact search, HNSW shards, or auto: exact up to a number of pairs")
    num_neighbours: int = Field(default=16, ge=1, description="nearest pairs that the density of a pair is estimated from")
    density_sample: int = Field(default=1000, ge=1, description="pairs, drawn by hash, that the bandwidth and the index's recall are measured on")
    index_actors: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="actors that hold index shards; auto: one per CPU"
    )
    cpus_per_index_actor: float = Field(default=0.5, gt=0, description="CPUs reserved by each of them")


class Trial(Settings):
    """Recall that a search with `ef` candidates had on the sample."""

    ef: int
    recall: float


class DensityChoice(Settings):
    """How densities were found: written beside them, so a run that goes on takes the same way."""

    version: str
    backend: Literal["exact", "hnsw"]
    num_points: int
    num_neighbours: int
    bandwidth: float
    num_shards: int = 0
    ef: int = 0
    recall: float = 1.0
    trials: tuple[Trial, ...] = ()

    @property
    def column_version(self) -> str:
        """Version of the columns that come of this choice."""
        return f"{self.version}-{self.backend}{self.ef or ''}"


def local_density(squares_BK: NDArray[Any], *, bandwidth: float) -> NDArray[np.float64]:
    """Mean Gaussian kernel of the squared distances to the nearest neighbours, (B,) from 0 to 1; higher is denser.

    A place that no point fills (an infinite distance) counts as 0, and no neighbours at all give 0.

    >>> local_density(np.array([[0.0, 2.0], [8.0, np.inf]]), bandwidth=1.0).round(4).tolist()
    [0.6839, 0.0092]
    """
    if squares_BK.shape[1] == 0:
        return np.zeros(len(squares_BK))
    return np.exp(np.asarray(squares_BK, dtype=np.float64) / (-2 * bandwidth**2)).mean(axis=1)


def kernel_bandwidth(squares_SK: NDArray[Any]) -> float:
    """The median distance of a sample to its farthest listed neighbour; where half of these are 0, the median of those that are not.

    >>> kernel_bandwidth(np.array([[0.0, 1.0], [1.0, 4.0], [0.0, 9.0]]))
    2.0
    """
    farthest_S = np.sqrt(np.asarray(squares_SK, dtype=np.float64)[:, -1:].ravel())
    median = float(np.median(farthest_S)) if len(farthest_S) else 0.0
    if median > 0:
        return median
    apart_S = farthest_S[farthest_S > 0]
    return float(np.median(apart_S)) if len(apart_S) else 1.0


def search_points(source: PointSource, descriptors: Sequence[Descriptor], queries: Points, *, k: int) -> NeighbourLists:
    """The `k` nearest pairs of each query among some descriptors, exactly; a query is no neighbour of its own.

    Held at a time: the queries, one descriptor and the `k` best so far. Lists of different descriptors merge (`geometry.nearest.merge_lists`).
    """
    nearest = Nearest(queries.points_BD, k=k, own_ids_Q=queries.ids_B)
    for descriptor in descriptors:
        tile = source.read(descriptor)
        nearest.add(tile.ids_B, tile.points_BD)
    return nearest.lists()


def write_exact_density(source: PointSource, part: Sequence[Descriptor], choice: DensityChoice) -> int:
    """Search and write the densities of some descriptors' pairs, those that are not written yet; returns how many pairs they are."""
    missing = [descriptor for descriptor in part if not is_current(source.root, "density", descriptor, version=choice.column_version)]
    if not missing:
        return 0
    read = [source.read(descriptor) for descriptor in missing]
    queries = Points(np.concatenate([points.ids_B for points in read]), np.concatenate([points.points_BD for points in read]))
    squares_QK = search_points(source, source.descriptors, queries, k=choice.num_neighbours).squares_QK
    start = 0
    for descriptor, points in zip(missing, read, strict=True):
        write_density(source.root, descriptor, points.ids_B, squares_QK[start : start + len(points)], choice)
        start += len(points)
    return start


def write_density(root: str, descriptor: Descriptor, ids_B: Ids, squares_BK: Floats, choice: DensityChoice) -> None:
    """Write one descriptor's densities."""
    densities_B = local_density(squares_BK, bandwidth=choice.bandwidth)
    write_columns(root, "density", descriptor, ids_B, {"density": densities_B}, version=choice.column_version)


def choice_file(root: str) -> str:
    """Path of a round's choice."""
    return storage.join(root, "density", "choice.json")


def save_choice(root: str, choice: DensityChoice) -> None:
    """Write the choice, whole or not at all."""
    storage.write_whole(choice_file(root), choice.model_dump_json(indent=2).encode())


def load_choice(root: str, *, version: str) -> DensityChoice | None:
    """The choice of a round, None if there is none of this version; raises `StorageError` if the file is damaged."""
    path = choice_file(root)
    if not storage.exists(path):
        return None
    try:
        choice = DensityChoice.model_validate_json(storage.read_bytes(path))
    except ValidationError as error:
        raise StorageError(f"{path}: cannot be read as a choice of neighbours ({error}); remove it to choose again") from error
    return choice if choice.version == version else None
