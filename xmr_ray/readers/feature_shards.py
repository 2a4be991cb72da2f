"""Embeddings in `.npy` shards with their metadata in Parquet, as clip-retrieval writes them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from xmr_ray.component import Component
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import Source, fingerprint
from xmr_ray.corpus.stream import open_parquet
from xmr_ray.errors import CorpusError, ReaderError
from xmr_ray.readers.labels import LabelColumn
from xmr_ray.readers.listing import names_and_samples
from xmr_ray.readers.splits import drawn_splits, split_numbers
from xmr_ray.storage import absolute, exists, join, list_names, resolve
from xmr_ray.types import SPLITS, FeatureDtype, Ids, Split

BATCH_ROWS = 1024
WINDOW_ROWS = 8192
URI_COLUMNS = ("image_path", "url", "uri")
KINDS = {"image": ("img_emb", "npy"), "text": ("text_emb", "npy"), "metadata": ("metadata", "parquet")}


@dataclass(frozen=True)
class _Npy:
    """A two-dimensional array in a `.npy` file, of which any rows can be read: where its numbers begin, and their shape and type."""

    path: str
    begin: int
    num_rows: int
    width: int
    dtype: str

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows `start` to `stop` (B, W), without the rest of the file."""
        row_bytes = self.width * np.dtype(self.dtype).itemsize
        filesystem, inner = resolve(self.path)
        with filesystem.open_input_file(inner) as file:
            file.seek(self.begin + start * row_bytes)
            data = file.read((stop - start) * row_bytes)
        return np.frombuffer(data, dtype=self.dtype).reshape(stop - start, self.width)


@dataclass(frozen=True)
class _Shard:
    """Files of one number; metadata where there is any."""

    image: _Npy
    text: _Npy
    metadata: str | None


class FeatureShardsReader(Component):
    """Pairs from `img_emb/img_emb_0.npy`, `text_emb/text_emb_0.npy` and `metadata/metadata_0.parquet` (or all of them in one folder).

    Shards are taken in the order of their numbers, padded or not; row i of all three is one pair. Columns of the metadata are settings:
    `uri` is by default the first of image_path, url and uri that there is. Splits come from `split_column`, or `num_test` and
    `num_validation` pairs are drawn by a hash of (`seed`, row). Ids are counted over all shards without `pair_id`. Files are read by
    range, on any file system.
    """

    kind: Literal["feature_shards"] = "feature_shards"
    path: str
    caption: str | None = "caption"
    uri: str | None = None
    pair_id: str | None = None
    labels: str | None = None
    split_column: str | None = None
    num_validation: NonNegativeInt = 0
    num_test: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    class_names: tuple[str, ...] | None = None
    multi_label: Literal["auto"] | bool = "auto"
    dtype: Literal["auto"] | FeatureDtype = "auto"
    source: str = ""

    def read(self) -> Source:
        """Look at every header, and at the label and split columns of the metadata.

        Raises:
            ReaderError: shards are missing, cut short or misaligned, or a column is missing or cannot be understood.
        """
        files = _shard_files(absolute(self.path))
        shards = [_open_shard(found) for found in files]
        columns = self._columns(shards)
        labels = self._labels(shards)
        ends = np.cumsum([shard.image.num_rows for shard in shards])
        splits = self._splits(shards, int(ends[-1]))
        image, text = _agreed([shard.image for shard in shards]), _agreed([shard.text for shard in shards])
        schema = CorpusSchema(
            image_dim=image.width,
            text_dim=text.width,
            image_dtype=_stored(image) if self.dtype == "auto" else self.dtype,
            text_dtype=_stored(text) if self.dtype == "auto" else self.dtype,
            class_names=labels.class_names if labels else self.class_names or (),
            multi_label=labels.multi_label if labels else self.multi_label is not False,
            source=self.source or self.path.rstrip("/").rsplit("/", 1)[-1],
            reader=fingerprint(self, names_and_samples([path for found in files for path in found.values()]), ignore=("path",)),
            has_captions="caption" in columns,
            has_uris="uri" in columns,
        )
        return Source(schema, {split: len(rows) for split, rows in splits.items()}, _Pairs(shards, ends, splits, columns, labels).read)

    def _columns(self, shards: Sequence[_Shard]) -> dict[str, str]:
        """Column of the metadata for each role."""
        wanted = {"caption": self.caption, "uri": self.uri, "pair_id": self.pair_id, "labels": self.labels, "split": self.split_column}
        columns = {role: name for role, name in wanted.items() if name is not None}
        for shard in shards:
            if shard.metadata is None:
                columns.pop("caption", None)
                if columns:
                    raise ReaderError(f"{self.path}: no metadata for {shard.image.path}, so no column {next(iter(columns.values()))!r}; leave it out")
                return {}
        for shard in shards:
            with _open(shard.metadata or "") as file:
                present, num_rows = file.schema_arrow.names, file.metadata.num_rows
            if num_rows != shard.image.num_rows:
                raise ReaderError(f"{shard.metadata}: {num_rows} rows for {shard.image.num_rows} vectors in {shard.image.path}; misaligned shard")
            if "uri" not in columns and (known := [name for name in URI_COLUMNS if name in present]):
                columns["uri"] = known[0]
            if missing := [name for name in columns.values() if name not in present]:
                raise ReaderError(f"{shard.metadata}: no column {missing[0]!r}; it has {', '.join(present)}")
        return columns

    def _labels(self, shards: Sequence[_Shard]) -> LabelColumn | None:
        if self.labels is None:
            return None
        labels = LabelColumn(self.class_names, multi_label=self.multi_label)
        for shard in shards:
            labels.survey(_column(shard, self.labels), where=f"{shard.metadata}: column {self.labels!r}")
        labels.finish(where=self.path)
        return labels

    def _splits(self, shards: Sequence[_Shard], num_rows: int) -> Mapping[Split, Ids]:
        if self.split_column is None:
            return drawn_splits(num_rows, num_validation=self.num_validation, num_test=self.num_test, seed=self.seed, where=self.path)
        if self.num_validation or self.num_test:
            raise ReaderError(f"{self.path}: num_validation and num_test do not go with split_column={self.split_column!r}; leave them out")
        numbers = [split_numbers(_column(shard, self.split_column).to_pylist(), where=str(shard.metadata)) for shard in shards]
        numbers_N = np.concatenate(numbers)
        return {split: np.flatnonzero(numbers_N == i) for i, split in enumerate(SPLITS)}


@dataclass(frozen=True)
class _Pairs:
    """Any range of a split; `ends` are the rows that all shards up to each one hold."""

    shards: Sequence[_Shard]
    ends: Ids
    splits: Mapping[Split, Ids]
    columns: Mapping[str, str]
    labels: LabelColumn | None

    def read(self, split: Split, start: int, stop: int) -> Iterator[PairRecords]:
        rows = self.splits[split][start:stop]
        numbers = np.searchsorted(self.ends, rows, side="right")
        for number in np.unique(numbers):
            shard, rows_S = self.shards[number], rows[numbers == number]
            first = int(self.ends[number]) - shard.image.num_rows
            names = sorted({name for role, name in self.columns.items() if role != "split"})
            for low, high in _windows(rows_S - first):
                table = _columns_of(shard, names, low, high) if names else None
                yield from self._records(shard, table, rows_S[(rows_S >= first + low) & (rows_S < first + high)], first=first, low=low)

    def _records(self, shard: _Shard, table: pa.Table | None, rows_W: Ids, *, first: int, low: int) -> Iterator[PairRecords]:
        for begin in range(0, len(rows_W), BATCH_ROWS):
            rows_B = rows_W[begin : begin + BATCH_ROWS]
            start, stop = int(rows_B[0]) - first, int(rows_B[-1]) - first + 1
            image, text = (part.rows(start, stop)[rows_B - first - start] for part in (shard.image, shard.text))
            taken = table.take(pa.array(rows_B - first - low)).combine_chunks() if table is not None else None
            found = {role: taken.column(name) for role, name in self.columns.items() if role != "split"} if taken is not None else {}
            where = f"{shard.metadata}: from row {start}"
            ids_B = _ids(found["pair_id"], where=where) if "pair_id" in found else rows_B
            labels = [sorted(set(row)) for row in self.labels.numbers(_whole(found["labels"]), where=where)] if self.labels else None
            captions, uris = (found[role].to_pylist() if role in found else None for role in ("caption", "uri"))
            yield PairRecords(ids_B, image, text, labels, captions, uris)


def _windows(rows: Ids) -> Iterator[tuple[int, int]]:
    """Ranges of at most 8,192 rows that hold all the (ascending) rows, and begin with one."""
    while len(rows):
        low = int(rows[0])
        inside = int(np.searchsorted(rows, low + WINDOW_ROWS))
        yield low, int(rows[inside - 1]) + 1
        rows = rows[inside:]


def _shard_files(path: str) -> list[dict[str, str]]:
    """Files by kind for every shard number, ascending; raises `ReaderError` if one kind lacks a number that another has."""
    if not exists(path):
        raise ReaderError(f"{path}: no such folder; correct the path in the reader's settings")
    numbered = {kind: _numbered(path, name, suffix) for kind, (name, suffix) in KINDS.items()}
    if not numbered["image"]:
        raise ReaderError(f"{path}: no img_emb_0.npy here or in img_emb/; give the folder that clip-retrieval inference wrote")
    for kind in ("text", "metadata") if numbered["metadata"] else ("text",):
        for number in sorted(numbered["image"].keys() ^ numbered[kind].keys()):
            has, lacks = ("image", kind) if number in numbered["image"] else (kind, "image")
            raise ReaderError(f"{numbered[has][number]}: shard {number} has no {KINDS[lacks][0]} file; write this shard again")
    return [{kind: files[number] for kind, files in numbered.items() if files} for number in sorted(numbered["image"])]


def _numbered(path: str, name: str, suffix: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for folder in (join(path, name), path):
        for file in list_names(folder):
            if match := re.fullmatch(rf"{name}_?(\d+)\.{suffix}", file):
                if int(match[1]) in found:
                    raise ReaderError(f"{join(folder, file)}: shard {int(match[1])} is there twice, also as {found[int(match[1])]}; remove one")
                found[int(match[1])] = join(folder, file)
    return found


def _open_shard(files: Mapping[str, str]) -> _Shard:
    shard = _Shard(_open_npy(files["image"]), _open_npy(files["text"]), files.get("metadata"))
    if shard.image.num_rows != shard.text.num_rows:
        raise ReaderError(f"{shard.text.path}: {shard.text.num_rows} rows for {shard.image.num_rows} in {shard.image.path}; misaligned shard")
    return shard


def _open_npy(path: str) -> _Npy:
    """Header of a `.npy` file; raises `ReaderError` if it is none, holds something else than rows of floats, or is cut short."""
    filesystem, inner = resolve(path)
    try:
        with filesystem.open_input_file(inner) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = read(file)
            begin, size = file.tell(), file.size()
    except (OSError, ValueError) as error:
        raise ReaderError(f"{path}: not a .npy file ({error}); write this shard again") from error
    if len(shape) != 2 or by_columns or dtype.kind != "f":
        raise ReaderError(f"{path}: holds {dtype} of shape {shape}{' by columns' if by_columns else ''}; expected rows of float16 or float32")
    if size < begin + shape[0] * shape[1] * dtype.itemsize:
        raise ReaderError(f"{path}: {size} bytes are too few for {shape[0]} rows of {shape[1]} {dtype}; cut short, copy it again")
    return _Npy(path, begin, shape[0], shape[1], dtype.str)


def _agreed(arrays: Sequence[_Npy]) -> _Npy:
    other = next((array for array in arrays if (array.width, array.dtype) != (arrays[0].width, arrays[0].dtype)), None)
    if other is not None:
        one = arrays[0]
        raise ReaderError(f"{other.path}: rows of {other.width} {other.dtype}, in {one.path} of {one.width} {one.dtype}; all shards must agree")
    return arrays[0]


def _stored(array: _Npy) -> FeatureDtype:
    return "f16" if np.dtype(array.dtype) == np.float16 else "f32"


def _open(path: str) -> pq.ParquetFile:
    try:
        return open_parquet(path)
    except CorpusError as error:
        raise ReaderError(f"{path}: cannot be opened as Parquet ({error.__cause__}); write this shard again") from error


def _column(shard: _Shard, name: str) -> pa.Array:
    return _whole(_columns_of(shard, [name], 0, shard.image.num_rows).column(name))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _columns_of(shard: _Shard, names: Sequence[str], low: int, high: int) -> pa.Table:
    """Rows `low` to `high` of some columns of the metadata, from the row groups that hold them."""
    try:
        with _open(shard.metadata or "") as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            groups = [i for i, end in enumerate(ends.tolist()) if end > low and end - sizes[i] < high]
            begin = int(ends[groups[0]]) - sizes[groups[0]] if groups else low
            return file.read_row_groups(groups, columns=list(names), use_threads=False).slice(low - begin, high - low)
    except (OSError, pa.ArrowException) as error:
        raise ReaderError(f"{shard.metadata}: cannot be read ({error}); write this shard again") from error


def _ids(column: pa.ChunkedArray, *, where: str) -> Ids:
    if column.null_count or not pa.types.is_integer(column.type):
        raise ReaderError(f"{where}: ids are {column.type} with {column.null_count} nulls; expected integers without nulls")
    return column.to_numpy().astype(np.int64)
