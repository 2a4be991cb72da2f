"""What scoring one descriptor leaves on disk: scores, embeddings and predictions, one file each, rows in the descriptor's order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmr_ray import seals, storage
from xmr_ray.corpus.columns import feature_array, feature_field, feature_matrix
from xmr_ray.errors import StorageError
from xmr_ray.types import Descriptor, FeatureDtype, Floats, Ids, ScoreBlock, narrow, widen

EMBEDDINGS = ("image_embedding", "text_embedding", "image_probability", "text_probability")
FUSED_MEAN = "fused_mean"
KINDS = ("scores", "embeddings", "predictions")

_FOLDER_OF = {"cell": "cells", "centre_distance": "cells", "signature": "cells", "density": "density"}


@dataclass(frozen=True)
class ScoredPairs:
    """Everything that a round's networks say of a batch: scores, stage 1's label probabilities (B, C), and both towers' outputs.

    `towers` also holds the mean of the fused Gaussian (B, D) where there are Gaussian heads.
    """

    block: ScoreBlock
    probabilities_BC: Floats
    towers: dict[str, Floats]


def file_of(root: str, kind: str, descriptor: Descriptor) -> str:
    """Path of one descriptor's file of a kind."""
    return storage.join(root, kind, f"{descriptor.name}.parquet")


def write_scored(root: str, descriptor: Descriptor, scored: ScoredPairs, *, dtype: FeatureDtype, version: str) -> None:
    """Write the three files of a descriptor; scores come last, so their existence means that all three are whole."""
    ids = pa.array(scored.block.pair_ids_B)
    columns = {name: (scored.towers[name], dtype) for name in (*EMBEDDINGS, FUSED_MEAN) if name in scored.towers}
    _write_matrices(file_of(root, "embeddings", descriptor), ids, columns, version)
    _write_matrices(file_of(root, "predictions", descriptor), ids, {"probability": (scored.probabilities_BC, "f32")}, version)
    scores = pa.table({"pair_id": ids, **{name: pa.array(values) for name, values in scored.block.columns.items()}})
    storage.write_table(file_of(root, "scores", descriptor), seals.seal_table(scores.replace_schema_metadata({"version": version})))


def is_current(root: str, kind: str, descriptor: Descriptor, *, version: str) -> bool:
    """Whether one descriptor's file of a kind is there, whole, and of this version (of the networks and settings that made it)."""
    filesystem, inner = storage.resolve(file_of(root, kind, descriptor))
    try:
        with filesystem.open_input_file(inner) as source:
            metadata = pq.read_schema(source).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return bool(metadata.get(b"version") == version.encode())


def read_scores(root: str, descriptor: Descriptor, columns: Sequence[str]) -> ScoreBlock:
    """Columns of one descriptor, each from the folder that holds it: cells, density, else scores.

    Raises:
        StorageError: a file is missing, damaged, lacks a column, or holds other pairs than the scores do.
    """
    by_kind = {kind: [name for name in columns if _FOLDER_OF.get(name, "scores") == kind] for kind in ("scores", *_FOLDER_OF.values())}
    ids_B, found = _read_columns(root, "scores", descriptor, by_kind.pop("scores"))
    for kind, names in by_kind.items():
        if not names:
            continue
        other_B, more = _read_columns(root, kind, descriptor, names)
        if not np.array_equal(other_B, ids_B):
            raise StorageError(f"{file_of(root, kind, descriptor)}: {_first_difference(ids_B, other_B)}; remove the folder {kind!r} of this round")
        found |= more
    return ScoreBlock(ids_B, {name: found[name] for name in columns})


def _read_columns(root: str, kind: str, descriptor: Descriptor, columns: Sequence[str]) -> tuple[Ids, dict[str, NDArray[np.float64]]]:
    table = seals.read_sealed_table(file_of(root, kind, descriptor), ["pair_id", *columns])
    return table["pair_id"].to_numpy(), {name: table[name].to_numpy().astype(np.float64, copy=False) for name in columns}


def _first_difference(expected_B: Ids, found_B: Ids) -> str:
    if len(expected_B) != len(found_B):
        return f"{len(found_B)} pairs, but the scores hold {len(expected_B)}"
    at = int(np.flatnonzero(expected_B != found_B)[0])
    return f"pair_id {found_B[at]} at row {at}, but the scores hold {expected_B[at]} there"


def read_matrices(root: str, kind: str, descriptor: Descriptor, columns: Sequence[str]) -> tuple[Ids, dict[str, Floats]]:
    """Ids (B,) and float32 matrices (B, D) of one descriptor, by column; raises `StorageError` if the file is damaged."""
    path = file_of(root, kind, descriptor)
    table = storage.read_table(path, ["pair_id", *columns])
    found = {}
    for name in columns:
        dtype, width = _stored_as(table.schema.field(name), path)
        found[name] = widen(feature_matrix(table[name], dtype=dtype, width=width, where=f"{path}, {name}"), dtype)
    return table["pair_id"].to_numpy(), found


def _stored_as(field: pa.Field, path: str) -> tuple[FeatureDtype, int]:
    metadata = field.metadata or {}
    dtype, width = metadata.get(b"dtype", b""), metadata.get(b"width", b"")
    for known in get_args(FeatureDtype):
        if dtype == known.encode() and width.isdigit():
            return known, int(width)
    raise StorageError(f"{path}: damaged, column {field.name!r} says dtype {dtype!r} and width {width!r}; remove it to have it made again")


def _write_matrices(path: str, ids: pa.Array, columns: dict[str, tuple[Floats, FeatureDtype]], version: str) -> None:
    fields = [pa.field("pair_id", pa.int64(), nullable=False)]
    fields += [feature_field(name, dtype, values.shape[1]) for name, (values, dtype) in columns.items()]
    arrays = [feature_array(narrow(np.ascontiguousarray(values), dtype), dtype) for values, dtype in columns.values()]
    table = pa.Table.from_arrays([ids, *arrays], schema=pa.schema(fields, metadata={"version": version}))
    storage.write_table(path, table, compression="none")
