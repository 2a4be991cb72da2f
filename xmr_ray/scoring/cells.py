"""Semantic cells: regions of a space that every train pair belongs to, and a coarse signature inside a cell that near-duplicates share."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xmr_ray import storage
from xmr_ray.component import Settings
from xmr_ray.errors import StorageError
from xmr_ray.geometry.hashing import derive_key
from xmr_ray.geometry.kmeans import assign, fit_kmeans
from xmr_ray.scoring.outputs import is_current
from xmr_ray.scoring.points import PointSource, Space, write_columns
from xmr_ray.types import Descriptor, Floats

NUM_PLANES = 8
# How far a plane stands off its centre, in units of the points' spread across it: a clump that is a cell of its own, much tighter than the
# others, then lies on one side of every plane.
_STAND_OFF = 0.25


class CellSettings(Settings):
    """Into how many cells the train pairs fall, and in which space."""

    num_cells: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="cells; auto takes one for each label bought by the end of the round, up to most_cells"
    )
    most_cells: int = Field(default=500, ge=1, description="cells that auto never exceeds")
    cell_sample: int = Field(default=20_000, ge=1, description="train pairs, drawn by hash, that the centres are fitted to")
    cell_space: Space = Field(
        default="feature", description="features that no network has seen, fused Gaussian means, means of both embeddings, or stage 1's predictions"
    )

    def cells_for(self, num_labels: int) -> int:
        """Cells when so many labels will be bought by the end of the purchase.

        >>> CellSettings().cells_for(150), CellSettings().cells_for(950), CellSettings(num_cells=20).cells_for(950)
        (150, 500, 20)
        """
        return max(1, min(num_labels, self.most_cells)) if self.num_cells == "auto" else self.num_cells


@dataclass(frozen=True)
class Cells:
    """Centres, and the planes of the signatures: directions (D, S) of length 1 and how far (S,) each stands off every centre."""

    centres_MD: Floats
    planes_DS: Floats
    offsets_S: Floats


@dataclass(frozen=True)
class CellColumns:
    """Cell of each pair, Euclidean distance to its centre, and its signature: one bit for each plane."""

    cell_B: NDArray[np.int32]
    centre_distance_B: NDArray[np.float64]
    signature_B: NDArray[np.int32]


def fit_cells(points_ND: NDArray[Any], *, num_cells: int, seed: int, round_index: int) -> Cells:
    """k-means centres of a sample and the planes of the signatures, the same for the same points in the same order.

    There are fewer centres than `num_cells` where there are fewer distinct points. Raises `StrategyError` for no points.
    """
    points = np.ascontiguousarray(points_ND, dtype=np.float32)
    centres_MD = fit_kmeans(points, num_cells=num_cells, rng=np.random.default_rng(derive_key(seed, round_index, "cells")))
    planes_DS = np.random.default_rng(derive_key(seed, round_index, "signature")).standard_normal((points.shape[1], NUM_PLANES))
    planes_DS /= np.linalg.norm(planes_DS, axis=0)
    heights_NS = (points - centres_MD[assign(points, centres_MD)[0]]) @ planes_DS.astype(np.float32)
    offsets_S = _STAND_OFF * np.sqrt((heights_NS.astype(np.float64) ** 2).mean(axis=0))
    return Cells(centres_MD, planes_DS.astype(np.float32), offsets_S.astype(np.float32))


def assign_cells(points_BD: NDArray[Any], cells: Cells) -> CellColumns:
    """The nearest centre of each point (the lower cell of equals), its distance, and on which side of each plane the point lies.

    >>> cells = Cells(np.float32([[0, 0], [4, 0]]), np.float32([[1, 0], [0, 1]]), np.float32([0.1, 0.1]))
    >>> found = assign_cells(np.array([[1.0, 0.0], [4.0, 3.0]]), cells)
    >>> found.cell_B.tolist(), found.centre_distance_B.tolist(), found.signature_B.tolist()
    ([0, 1], [1.0, 3.0], [1, 2])
    """
    cell_B, _ = assign(points_BD, cells.centres_MD)
    differences_BD = np.asarray(points_BD, dtype=np.float64) - cells.centres_MD[cell_B]
    heights_BS = np.einsum("bd,ds->bs", differences_BD, cells.planes_DS.astype(np.float64))
    signature_B = (heights_BS > cells.offsets_S) @ (1 << np.arange(cells.planes_DS.shape[1]))
    return CellColumns(cell_B, np.sqrt(np.einsum("bd,bd->b", differences_BD, differences_BD)), signature_B.astype(np.int32))


def centres_file(root: str) -> str:
    """Path of a round's centres."""
    return storage.join(root, "cells", "centres.npz")


def save_cells(root: str, cells: Cells, *, version: str) -> None:
    """Write the centres and planes of a round, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, centres=cells.centres_MD, planes=cells.planes_DS, offsets=cells.offsets_S, version=np.array(version))
    storage.write_whole(centres_file(root), buffer.getvalue())


def load_cells(root: str, *, version: str) -> Cells | None:
    """The cells of a round, None if there are none of this version; raises `StorageError` if the file is damaged."""
    path = centres_file(root)
    if not storage.exists(path):
        return None
    try:
        with np.load(io.BytesIO(storage.read_bytes(path)), allow_pickle=False) as found:
            if str(found["version"]) != version:
                return None
            return Cells(found["centres"], found["planes"], found["offsets"])
    except Exception as error:  # zip and numpy raise many kinds
        raise StorageError(f"{path}: cannot be read as cells ({error}); remove it to fit them again") from error


def assign_descriptors(source: PointSource, descriptors: Sequence[Descriptor], *, version: str) -> int:
    """Write the cells of some descriptors' pairs, those that this version has not written yet; returns how many pairs were assigned.

    Raises:
        StorageError: there are no cells of this version.
    """
    cells = load_cells(source.root, version=version)
    if cells is None:
        raise StorageError(f"{centres_file(source.root)}: no cells of version {version}; fit them first")
    assigned = 0
    for descriptor in descriptors:
        if is_current(source.root, "cells", descriptor, version=version):
            continue
        points = source.read(descriptor)
        found = assign_cells(points.points_BD, cells)
        columns: dict[str, NDArray[Any]] = {"cell": found.cell_B, "centre_distance": found.centre_distance_B, "signature": found.signature_B}
        write_columns(source.root, "cells", descriptor, points.ids_B, columns, version=version)
        assigned += len(points)
    return assigned
