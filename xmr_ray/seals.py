"""Seals: hashes of what a file says, kept inside it, so that what was changed afterwards is refused.

Page checksums of Parquet protect its pages, not its footer, and JSON has none: without a seal a flipped bit can be read as another number.
A file without a seal (written before there were seals) is read as it is.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from xmr_ray import storage
from xmr_ray.errors import StorageError

_TABLE_KEY, _JSON_KEY = b"seals", "seal"


def seal_table(table: pa.Table) -> pa.Table:
    """The table with a hash of every column in its schema's metadata."""
    seals = {name: _column_digest(table[name]) for name in table.column_names}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _TABLE_KEY: json.dumps(seals).encode()})


def read_sealed_table(path: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file whose columns say what was written; raises `StorageError` naming the file if it is damaged."""
    table = storage.read_table(path, columns)
    stored = (table.schema.metadata or {}).get(_TABLE_KEY)
    if stored is None:
        return table
    try:
        seals = json.loads(stored)
        changed = [name for name in table.column_names if seals.get(name) != _column_digest(table[name])]
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise StorageError(f"{path}: damaged, its seal or a column cannot be read ({error})") from error
    if changed:
        raise StorageError(f"{path}: damaged, column {changed[0]!r} is not what was written")
    return table


def seal_json(content: Mapping[str, Any]) -> bytes:
    """An object as indented JSON with its seal; NaN stays Python's NaN."""
    plain = json.loads(json.dumps(content))  # keys become strings, and are sorted as such when the seal is looked at
    return json.dumps({**plain, _JSON_KEY: _json_digest(plain)}, indent=2, sort_keys=True).encode()


def open_json(data: bytes) -> dict[str, Any]:
    """The object without its seal; raises `ValueError` if it is not JSON, no object, or not what was sealed.

    >>> open_json(seal_json({"a": 1}))
    {'a': 1}
    >>> open_json(seal_json({"a": 1}).replace(b"1,", b"3,"))
    Traceback (most recent call last):
    ValueError: its content is not what was written
    """
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__}, expected an object")
    seal = content.pop(_JSON_KEY, None)
    if seal is not None and seal != _json_digest(content):
        raise ValueError("its content is not what was written")
    return content


def _json_digest(content: Mapping[str, Any]) -> str:
    return storage.digest_bytes(json.dumps(content, sort_keys=True).encode())[:32]


def _column_digest(column: pa.ChunkedArray) -> str:
    """Hash of a column's values; chunks and nullability do not matter."""
    kind = column.type
    if pa.types.is_list(kind):  # the name of a list's items changes on its way through Parquet
        lengths = np.asarray([len(row) for row in column.to_pylist()], dtype=np.int64)
        parts = [str(kind.value_type).encode(), lengths.tobytes(), np.asarray(column.combine_chunks().flatten()).tobytes()]
    elif pa.types.is_primitive(kind):
        parts = [str(kind).encode(), np.ascontiguousarray(column.to_numpy()).tobytes()]
    else:
        parts = [str(kind).encode(), repr(column.to_pylist()).encode()]
    return storage.digest_bytes(b"|".join(parts))[:32]
