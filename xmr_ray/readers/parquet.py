"""Any Parquet files with one pair per row; column names are settings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs
from pydantic import Field, PositiveInt, model_validator

from xmr_ray.component import Component
from xmr_ray.corpus.columns import STORED, feature_matrix
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import Source, fingerprint
from xmr_ray.corpus.stream import open_parquet
from xmr_ray.errors import CorpusError, ReaderError
from xmr_ray.readers.labels import LabelColumn
from xmr_ray.readers.splits import SPLIT_WORDS
from xmr_ray.storage import absolute, digest_bytes, exists, join, resolve
from xmr_ray.types import SPLITS, FeatureDtype, Floats, Split, widen

FOOTER_BYTES = 65536


@dataclass(frozen=True)
class _Group:
    """A row group: its file, the number of its first row within the file and over all files, and how many rows each split has in it."""

    path: str
    file_split: Split
    number: int
    row_in_file: int
    row: int
    counts: Mapping[Split, int]


class ParquetReader(Component):
    """Pairs from Parquet files or folders of them, streamed batch by batch.

    Either `path` with `split_column` (train, validation or val or dev, test; or 0, 1, 2), or `splits`, one path per split; `path` alone is
    all train. Features are fixed-size binary, lists, fixed-size lists or tensors. Ids are counted in file order without `pair_id`.
    Labels are lists or single values of class numbers or names; without `labels` the corpus has no truth.
    """

    kind: Literal["parquet"] = "parquet"
    path: str | None = None
    splits: Mapping[Split, str] = Field(default_factory=dict)
    split_column: str | None = None
    pair_id: str | None = None
    image: str = "image"
    text: str = "text"
    labels: str | None = None
    caption: str | None = None
    uri: str | None = None
    thumbnail: str | None = None
    class_names: tuple[str, ...] | None = None
    multi_label: Literal["auto"] | bool = "auto"
    binary_dtype: FeatureDtype | None = None
    dtype: Literal["auto"] | FeatureDtype = "auto"
    batch_rows: PositiveInt = 4096
    source: str = ""

    @model_validator(mode="after")
    def _one_way_to_splits(self) -> Self:
        if (self.path is None) == (not self.splits):
            raise ValueError("give either path (with or without split_column) or splits, one path per split")
        if self.splits and self.split_column:
            raise ValueError("split_column does not go with splits")
        return self

    def read(self) -> Source:
        """Look at every footer, and at the label and split columns; features are read when the stream is started.

        Raises:
            ReaderError: a file or column is missing, features have no clear width or type, or labels cannot be understood.
        """
        files = self._files()
        image_dim, image_dtype = self._feature_shape(files[0][1], self.image)
        text_dim, text_dtype = self._feature_shape(files[0][1], self.text)
        labels, groups = self._survey(files)
        schema = CorpusSchema(
            image_dim=image_dim,
            text_dim=text_dim,
            image_dtype=image_dtype if self.dtype == "auto" else self.dtype,
            text_dtype=text_dtype if self.dtype == "auto" else self.dtype,
            class_names=labels.class_names if labels else self.class_names or (),
            multi_label=labels.multi_label if labels else self.multi_label is not False,
            source=self.source or (self.path or next(iter(self.splits.values()))).rstrip("/").rsplit("/", 1)[-1],
            reader=fingerprint(self, *(f"{split} {_digest(path)}" for split, path in files), ignore=("path", "splits", "batch_rows")),
            has_captions=self.caption is not None,
            has_uris=self.uri is not None,
            has_thumbnails=self.thumbnail is not None,
        )
        shapes = {self.image: (image_dim, image_dtype), self.text: (text_dim, text_dtype)}
        counts = {split: sum(group.counts.get(split, 0) for group in groups) for split in SPLITS}
        return Source(schema, counts, partial(self._read, groups, shapes, labels))

    def _files(self) -> list[tuple[Split, str]]:
        wanted = self.splits or {"train": self.path or ""}
        found = [(split, file) for split in SPLITS if split in wanted for file in _parquet_files(wanted[split])]
        for _, path in found:
            with _open(path) as file:
                missing = [name for name in self._columns() if name not in file.schema_arrow.names]
                if missing:
                    raise ReaderError(f"{path}: no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}")
        return found

    def _columns(self) -> list[str]:
        names = (self.pair_id, self.image, self.text, self.labels, self.caption, self.uri, self.thumbnail, self.split_column)
        return [name for name in names if name is not None]

    def _feature_shape(self, path: str, column: str) -> tuple[int, FeatureDtype]:
        """Width and type of a feature column, from its field or from the first vector."""
        with _open(path) as file:
            field = file.schema_arrow.field(column)
            first = next((batch.column(column) for batch in file.iter_batches(batch_size=1, columns=[column], use_threads=False) if len(batch)), None)
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
        if pa.types.is_fixed_size_binary(kind):
            dtype = metadata.get("dtype", self.binary_dtype)
            if dtype not in STORED:
                raise ReaderError(f"{path}: column {column!r} is {kind} and does not say which numbers; set binary_dtype to bf16, f16 or f32")
            return kind.byte_width // STORED[dtype].itemsize, dtype
        if first is None:
            raise ReaderError(f"{path}: no rows; leave empty files out")
        first = first.storage if isinstance(first, pa.ExtensionArray) else first
        if not hasattr(kind, "value_type") or first.null_count:
            raise ReaderError(f"{path}: column {column!r} is {kind}; expected fixed-size binary, a list type or a fixed-shape tensor, without nulls")
        return len(first[0]), "f16" if pa.types.is_float16(kind.value_type) else "f32"

    def _survey(self, files: list[tuple[Split, str]]) -> tuple[LabelColumn | None, list[_Group]]:
        """What the label column holds, and the row groups of all files in order."""
        columns = [name for name in (self.labels, self.split_column) if name]
        labels = LabelColumn(self.class_names, multi_label=self.multi_label) if self.labels else None
        groups: list[_Group] = []
        row = 0
        for split, path in files:
            first = row
            with _open(path) as file:
                for number in range(file.num_row_groups):
                    num_rows = file.metadata.row_group(number).num_rows
                    counts = dict.fromkeys([split], num_rows) if self.split_column is None else dict.fromkeys(SPLITS, 0)
                    for batch in _batches(file, columns, path=path, batch_rows=65536, group=number) if columns else ():
                        if labels:
                            labels.survey(batch.column(self.labels), where=path)
                        for word in self._split_words(batch, split, where=path) if self.split_column else ():
                            counts[word] += 1
                    groups.append(_Group(path, split, number, row - first, row, counts))
                    row += num_rows
        if labels:
            labels.finish(where=files[0][1])
        return labels, groups

    def _split_words(self, batch: pa.RecordBatch, split: Split, *, where: str) -> NDArray[Any]:
        if self.split_column is None:
            return np.full(len(batch), split, dtype=object)
        found = batch.column(self.split_column).to_pylist()
        unknown = next((word for word in found if str(word).lower() not in SPLIT_WORDS), None)
        if unknown is not None or None in found:
            raise ReaderError(f"{where}: split {unknown!r} in column {self.split_column!r}; expected one of {', '.join(SPLIT_WORDS)}")
        return np.array([SPLIT_WORDS[str(word).lower()] for word in found], dtype=object)

    def _read(
        self,
        groups: list[_Group],
        shapes: Mapping[str, tuple[int, FeatureDtype]],
        labels: LabelColumn | None,
        split: Split,
        start: int,
        stop: int,
    ) -> Iterator[PairRecords]:
        seen = 0
        for group in groups:
            low, high = max(start - seen, 0), min(stop - seen, group.counts.get(split, 0))
            seen += group.counts.get(split, 0)
            if low < high:
                yield from self._read_group(group, shapes, labels, split, low, high)

    def _read_group(
        self, group: _Group, shapes: Mapping[str, tuple[int, FeatureDtype]], labels: LabelColumn | None, split: Split, low: int, high: int
    ) -> Iterator[PairRecords]:
        """Rows of one split within a row group: those that are number `low` to `high` among their like."""
        at, seen = 0, 0
        with _open(group.path) as file:
            for batch in _batches(file, self._columns(), path=group.path, batch_rows=self.batch_rows, group=group.number):
                where = f"{group.path}: from row {group.row_in_file + at}"
                rows = np.flatnonzero(self._split_words(batch, group.file_split, where=where) == split)
                part = rows[max(low - seen, 0) : max(high - seen, 0)]
                if len(part):
                    records = self._records(batch, shapes, labels, where=where, row=group.row + at)
                    yield records if len(part) == len(records) else _take(records, part)
                at, seen = at + len(batch), seen + len(rows)

    def _records(
        self, batch: pa.RecordBatch, shapes: Mapping[str, tuple[int, FeatureDtype]], labels: LabelColumn | None, *, where: str, row: int
    ) -> PairRecords:
        features = [_features(batch, name, *shapes[name], where=where) for name in (self.image, self.text)]
        ids_B = np.arange(row, row + len(batch)) if self.pair_id is None else _ids(batch.column(self.pair_id), where=f"{where}, {self.pair_id}")
        classes = labels.numbers(batch.column(self.labels), where=where) if labels else None
        items = [None if name is None else batch.column(name).to_pylist() for name in (self.caption, self.uri, self.thumbnail)]
        return PairRecords(ids_B, features[0], features[1], classes, *items)


def _features(batch: pa.RecordBatch, column: str, width: int, dtype: FeatureDtype, *, where: str) -> Floats:
    try:
        chunked = pa.chunked_array([batch.column(column)])
        return widen(feature_matrix(chunked, dtype=dtype, width=width, where=f"{where}, {column}"), dtype)
    except CorpusError as error:
        raise ReaderError(f"{error}; all files must agree") from error


def _ids(column: pa.Array, *, where: str) -> NDArray[np.int64]:
    if column.null_count or not pa.types.is_integer(column.type):
        raise ReaderError(f"{where}: ids are {column.type} with {column.null_count} nulls; expected integers without nulls")
    return column.to_numpy(zero_copy_only=False).astype(np.int64)


def _take(records: PairRecords, rows: NDArray[np.int64]) -> PairRecords:
    lists = (records.labels, records.captions, records.uris, records.thumbnails)
    labels, captions, uris, thumbnails = (None if values is None else [values[i] for i in rows] for values in lists)
    return PairRecords(records.pair_ids[rows], records.image[rows], records.text[rows], labels, captions, uris, thumbnails)  # type: ignore[arg-type]


def _open(path: str) -> pq.ParquetFile:
    try:
        return open_parquet(path)
    except CorpusError as error:
        raise ReaderError(f"{path}: cannot be opened as Parquet ({error.__cause__})") from error


def _batches(file: pq.ParquetFile, columns: list[str], *, path: str, batch_rows: int, group: int) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(batch_size=batch_rows, row_groups=[group], columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise ReaderError(f"{path}: cannot be read ({error})") from error


def _parquet_files(path: str) -> list[str]:
    path = absolute(path)
    if not exists(path):
        raise ReaderError(f"{path}: no such file or folder; correct the path in the reader's settings")
    filesystem, inner = resolve(path)
    if filesystem.get_file_info(inner).type == fs.FileType.File:
        return [path]
    found = filesystem.get_file_info(fs.FileSelector(inner, recursive=True))
    names = sorted(info.path[len(inner) :].strip("/") for info in found if info.type == fs.FileType.File and info.extension == "parquet")
    if not names:
        raise ReaderError(f"{path}: no .parquet file in this folder")
    return [join(path, name) for name in names]


def _digest(path: str) -> str:
    """What tells a file from another one without reading all of it: its size and its last bytes, where Parquet keeps its directory."""
    filesystem, inner = resolve(path)
    with filesystem.open_input_file(inner) as file:
        size = file.size()
        file.seek(max(0, size - FOOTER_BYTES))
        return f"{size} {digest_bytes(bytes(file.read()))}"
