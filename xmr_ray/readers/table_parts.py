"""Tables in CSV, JSON lines or Parquet, of which any rows can be read; Parquet stays on disk, the others are held as Arrow tables."""

import gzip
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from xmr_ray.corpus.stream import open_parquet
from xmr_ray.errors import CorpusError, ReaderError
from xmr_ray.storage import read_bytes

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".parquet")
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class TablePart:
    """One file: its table, or None where it is read from disk; `row_groups` are the rows of each row group then."""

    path: str
    num_rows: int
    columns: tuple[str, ...]
    table: pa.Table | None = None
    row_groups: tuple[int, ...] = ()

    def batches(self, start: int, stop: int, columns: Sequence[str], *, batch_rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Rows `start` to `stop` of some columns, in batches with the number of their first row; one batch at a time is in memory."""
        if self.table is not None:
            for first in range(start, stop, batch_rows):
                part = self.table.select(list(columns)).slice(first, min(batch_rows, stop - first))
                yield first, part.combine_chunks().to_batches()[0]
            return
        ends = np.cumsum(self.row_groups).tolist()
        groups = [i for i, end in enumerate(ends) if end > start and end - self.row_groups[i] < stop]
        first = ends[groups[0]] - self.row_groups[groups[0]] if groups else start
        try:
            with _parquet(self.path) as file:
                for batch in file.iter_batches(batch_size=batch_rows, row_groups=groups, columns=list(columns), use_threads=False):
                    low, high = max(start - first, 0), min(stop - first, len(batch))
                    if low < high:
                        yield first + low, batch.slice(low, high - low)
                    first += len(batch)
        except (OSError, pa.ArrowException) as error:
            raise ReaderError(f"{self.path}: cannot be read ({error}); copy it again") from error


def open_part(path: str, *, columns: Sequence[str], encoding: str, delimiter: str | None) -> TablePart:
    """Open a file by its suffix: `.csv` and `.tsv` (text in every column), `.jsonl` or `.ndjson`, each also gzipped, or `.parquet`.

    Raises:
        ReaderError: the file cannot be parsed, or lacks one of `columns`.
    """
    name = path.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        with _parquet(path) as file:
            metadata, present = file.metadata, tuple(file.schema_arrow.names)
            sizes = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
            part = TablePart(path, metadata.num_rows, present, row_groups=sizes)
    elif name.endswith((".jsonl", ".ndjson")):
        part = _held(path, _json_lines(_unpacked(path), path=path, columns=columns, encoding=encoding))
    elif name.endswith((".csv", ".tsv")):
        separator = delimiter or ("\t" if name.endswith(".tsv") else ",")
        part = _held(path, _csv(_unpacked(path), path=path, columns=columns, encoding=encoding, delimiter=separator))
    else:
        raise ReaderError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if missing := [column for column in columns if column not in part.columns]:
        raise ReaderError(f"{path}: no column {missing[0]!r}; it has {', '.join(part.columns)}")
    return part


def _held(path: str, table: pa.Table) -> TablePart:
    return TablePart(path, table.num_rows, tuple(table.column_names), table)


def _unpacked(path: str) -> bytes:
    data = read_bytes(path)
    try:
        return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except (OSError, EOFError) as error:
        raise ReaderError(f"{path}: cannot be unpacked ({error}); copy it again") from error


def _csv(data: bytes, *, path: str, columns: Sequence[str], encoding: str, delimiter: str) -> pa.Table:
    """All columns if one of `columns` is missing, so that the message can name them."""
    read = pa_csv.ReadOptions(encoding="utf-8", use_threads=False)
    parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    plain = {"strings_can_be_null": False, "null_values": []}
    try:
        text = io.BytesIO(data.decode(encoding).removeprefix("\ufeff").encode())
        header = pa_csv.open_csv(text, read, parse, pa_csv.ConvertOptions(**plain)).schema.names
        text.seek(0)
        convert = pa_csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), **plain)
        if all(column in header for column in columns):
            convert.include_columns = list(dict.fromkeys(columns))
        return pa_csv.read_csv(text, read, parse, convert)
    except (pa.ArrowException, UnicodeError, LookupError) as error:
        raise ReaderError(f"{path}: cannot be read as CSV in {encoding} ({error}); correct the file, or set encoding or delimiter") from error


def _json_lines(data: bytes, *, path: str, columns: Sequence[str], encoding: str) -> pa.Table:
    try:
        lines = data.decode(encoding).removeprefix("\ufeff").split("\n")
    except (UnicodeError, LookupError) as error:
        raise ReaderError(f"{path}: not {encoding} ({error}); set encoding") from error
    found: dict[str, list[Any]] = {column: [] for column in dict.fromkeys(columns)}
    keys: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ReaderError(f"{path}: line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ReaderError(f"{path}: line {number}: {line[:40]!r} is no JSON object")
        keys |= dict.fromkeys(row)
        for column, values in found.items():
            values.append(row.get(column))
    arrays = {}
    for column, values in found.items():
        try:
            arrays[column] = pa.array(values)
        except UnicodeError as error:
            raise ReaderError(f"{path}: key {column!r} holds what is no Unicode ({error}); correct or remove this line") from error
        except (pa.ArrowException, TypeError) as error:
            raise ReaderError(f"{path}: key {column!r} holds values of different types ({error}); write all of them alike") from error
    if missing := [column for column in columns if column not in keys]:
        raise ReaderError(f"{path}: no line has the key {missing[0]!r}; they have {', '.join(keys)}")
    return pa.table(arrays)


def _parquet(path: str) -> pq.ParquetFile:
    try:
        return open_parquet(path)
    except CorpusError as error:
        raise ReaderError(f"{path}: cannot be opened as Parquet ({error.__cause__})") from error
