"""Between feature matrices and Arrow columns: one row is one vector of little-endian numbers in fixed-size binary."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmr_ray.corpus.schema import CorpusSchema
from xmr_ray.errors import CorpusError
from xmr_ray.types import FeatureDtype, narrow

STORED: dict[FeatureDtype, np.dtype[Any]] = {"bf16": np.dtype("<u2"), "f16": np.dtype("<f2"), "f32": np.dtype("<f4")}
FEATURE_COLUMNS = ("image", "text")
ITEM_COLUMNS = {"caption": "has_captions", "uri": "has_uris", "thumbnail": "has_thumbnails"}


def feature_field(name: str, dtype: FeatureDtype, width: int) -> pa.Field:
    """The Arrow field of a feature column; not nullable, so that no definition levels are stored."""
    return pa.field(name, pa.binary(width * STORED[dtype].itemsize), nullable=False, metadata={"dtype": dtype, "width": str(width)})


def pairs_schema(schema: CorpusSchema) -> pa.Schema:
    """The Arrow schema of a pair file."""
    fields = [
        pa.field("pair_id", pa.int64(), nullable=False),
        feature_field("image", schema.image_dtype, schema.image_dim),
        feature_field("text", schema.text_dtype, schema.text_dim),
    ]
    kinds = {"caption": pa.string(), "uri": pa.string(), "thumbnail": pa.binary()}
    fields += [pa.field(name, kinds[name]) for name, has in ITEM_COLUMNS.items() if getattr(schema, has)]
    return pa.schema(fields)


def truth_schema() -> pa.Schema:
    """The Arrow schema of a truth file."""
    return pa.schema([pa.field("pair_id", pa.int64(), nullable=False), pa.field("labels", pa.list_(pa.field("element", pa.int32(), nullable=False)))])


def feature_array(stored_BW: NDArray[np.generic], dtype: FeatureDtype) -> pa.FixedSizeBinaryArray:
    """Vectors in their storage type (bf16 as uint16) as a fixed-size binary column, without a copy where the rows are contiguous."""
    little_BW = np.ascontiguousarray(stored_BW, dtype=STORED[dtype])
    num_rows, width = little_BW.shape
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width * little_BW.itemsize), num_rows, [None, pa.py_buffer(little_BW)])


def feature_matrix(column: pa.ChunkedArray, *, dtype: FeatureDtype, width: int, where: str) -> NDArray[np.generic]:
    """A feature column as (B, width) in its storage type; no copy where a fixed-size binary column lies in one chunk.

    Fixed-size binary, lists, fixed-size lists and fixed-shape tensors are accepted.

    Raises:
        CorpusError: a null, or vectors of another width or of a type that holds no numbers; the message starts with `where`.
    """
    chunks = [_chunk_matrix(chunk, dtype=dtype, width=width, where=where) for chunk in column.chunks if len(chunk)]
    if not chunks:
        return np.empty((0, width), dtype=STORED[dtype])
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _chunk_matrix(chunk: pa.Array, *, dtype: FeatureDtype, width: int, where: str) -> NDArray[np.generic]:
    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    if chunk.null_count:
        row = int(np.flatnonzero(chunk.is_null().to_numpy(zero_copy_only=False))[0])
        raise CorpusError(f"{where}: null in row {row}; every pair needs a vector of {width} numbers")
    if pa.types.is_fixed_size_binary(chunk.type):
        return _binary_matrix(chunk, dtype=dtype, width=width, where=where)
    return _list_matrix(chunk, dtype=dtype, width=width, where=where)


def _binary_matrix(chunk: pa.FixedSizeBinaryArray, *, dtype: FeatureDtype, width: int, where: str) -> NDArray[np.generic]:
    stored, row_bytes = STORED[dtype], chunk.type.byte_width
    if row_bytes != width * stored.itemsize:
        raise CorpusError(f"{where}: a vector has {row_bytes} bytes, expected {width * stored.itemsize} ({width} numbers of {dtype})")
    matrix = np.frombuffer(chunk.buffers()[1], dtype=stored, count=len(chunk) * width, offset=chunk.offset * row_bytes)
    return matrix.reshape(len(chunk), width)


def _list_matrix(chunk: pa.Array, *, dtype: FeatureDtype, width: int, where: str) -> NDArray[np.generic]:
    if pa.types.is_fixed_size_list(chunk.type):
        lengths = np.full(len(chunk), chunk.type.list_size)
    elif pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type):
        lengths = np.diff(chunk.offsets.to_numpy(zero_copy_only=False))
    else:
        raise CorpusError(f"{where}: column type is {chunk.type}; expected fixed-size binary, a list type or a fixed-shape tensor of numbers")
    wrong = np.flatnonzero(lengths != width)
    if len(wrong):
        raise CorpusError(f"{where}: row {wrong[0]} holds {lengths[wrong[0]]} numbers, expected {width}")
    flat = chunk.flatten()
    if flat.null_count or not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)):
        raise CorpusError(f"{where}: elements are {flat.type} with {flat.null_count} nulls; expected numbers without nulls")
    values_BW = flat.to_numpy(zero_copy_only=False).reshape(len(chunk), width)
    same = values_BW.dtype == STORED[dtype] and (dtype != "bf16" or pa.types.is_uint16(flat.type))
    return values_BW if same else stored_as(values_BW, dtype)


def stored_as(features_BW: NDArray[Any], dtype: FeatureDtype) -> NDArray[np.generic]:
    """Features of any float type in their storage type.

    Raises:
        CorpusError: a finite number that float32 or the storage type cannot hold.
    """
    with np.errstate(over="ignore"):
        single_BW = np.asarray(features_BW, dtype=np.float32)
    lost_BW = np.isinf(single_BW) & np.isfinite(features_BW)
    if lost_BW.any():
        raise CorpusError(f"feature {np.asarray(features_BW)[lost_BW].flat[0]} does not fit f32; scale these features first")
    return narrow(single_BW, dtype)
