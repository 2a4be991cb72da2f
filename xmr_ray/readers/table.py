"""Tables with an image path, URI or bytes, a text, and perhaps labels in each row: CSV, JSON lines or Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, NonNegativeInt, model_validator

from xmr_ray.component import Component
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.source import RawSource, fingerprint
from xmr_ray.errors import ReaderError
from xmr_ray.readers.label_words import LabelWords
from xmr_ray.readers.listing import files_at, names_and_samples
from xmr_ray.readers.splits import drawn_splits, split_numbers
from xmr_ray.readers.table_parts import SUFFIXES, TablePart, open_part
from xmr_ray.storage import absolute, digest_file, join, size_of
from xmr_ray.types import SPLITS, Ids, Split

BATCH_ROWS, SURVEY_ROWS = 256, 65536
LARGEST_DIGESTED = 64 << 20


class TableReader(Component):
    """Raw pairs from one table or several: a file, a folder or a pattern in `path`, or one of them per split in `splits`.

    `image` is a column of paths or URIs; relative ones are relative to `images`, or else to the table's folder. `image_bytes` is a column
    of encoded images (Parquet only); the rows then need no `image`. `labels` are lists, single values, JSON lists, or words separated by
    `label_separator`; numbers are class numbers unless `class_names` are such words. `class_names` may be given without labels: people
    will label. Splits come from `splits`, `split_column`, or a hash of (`seed`, row) draws `num_test` and `num_validation`. Ids are
    counted over all rows without `pair_id`.
    """

    kind: Literal["table"] = "table"
    path: str | None = None
    splits: Mapping[Split, str] = Field(default_factory=dict)
    image: str | None = None
    image_bytes: str | None = None
    text: str = "text"
    labels: str | None = None
    label_separator: str | None = None
    split_column: str | None = None
    pair_id: str | None = None
    images: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    num_validation: NonNegativeInt = 0
    num_test: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    class_names: tuple[str, ...] | None = None
    multi_label: Literal["auto"] | bool = "auto"
    source: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.path is None) == (not self.splits):
            raise ValueError("give either path or splits, one table, folder or pattern per split")
        if sum((bool(self.splits), self.split_column is not None, self.num_validation + self.num_test > 0)) > 1:
            raise ValueError("splits, split_column and num_validation or num_test exclude each other")
        if self.image is None and self.image_bytes is None:
            raise ValueError("give image, a column of paths or URIs, or image_bytes, a column of encoded images")
        return self

    def read(self) -> RawSource:
        """Look at every row but not at image bytes: missing values, labels, ids and splits are checked here.

        Raises:
            ReaderError: a file is missing or cannot be parsed, or a row lacks an image, a text, or a label that can be understood.
        """
        wanted: Mapping[Split, str] = self.splits or {"train": self.path or ""}
        named = [(split, file) for split in SPLITS if split in wanted for file in files_at(wanted[split], suffixes=SUFFIXES)]
        parts = [open_part(path, columns=self.columns(), encoding=self.encoding, delimiter=self.delimiter) for _, path in named]
        ends = np.cumsum([part.num_rows for part in parts])
        if not ends[-1]:
            raise ReaderError(f"{parts[0].path}: no rows; expected one pair in each row")
        labels = self._survey(parts)
        splits = self._splits([split for split, _ in named], parts)
        schema = RawSchema(
            class_names=labels.class_names if labels else self.class_names or (),
            multi_label=labels.multi_label if labels else self.multi_label is not False,
            has_labels=labels is not None,
            source=self.source or next(iter(wanted.values())).rstrip("/").rsplit("/", 1)[-1],
            reader=fingerprint(self, *(f"{split} {_digest(path)}" for split, path in named), ignore=("path", "splits", "images")),
        )
        rows = {split: len(chosen) for split, chosen in splits.items()}
        return RawSource(schema, rows, _Rows(self, parts, ends, splits, labels).read)

    def columns(self) -> list[str]:
        """Columns that are read."""
        names = (self.image, self.image_bytes, self.text, self.labels, self.split_column, self.pair_id)
        return list(dict.fromkeys(name for name in names if name is not None))

    def _survey(self, parts: Sequence[TablePart]) -> LabelWords | None:
        """Classes that occur; checks what every row must have."""
        labels = LabelWords(self.class_names, multi_label=self.multi_label, separator=self.label_separator) if self.labels else None
        given = [self.text, *([self.image] if self.image and not self.image_bytes else [])]
        ids = []
        for part in parts:
            columns = list(dict.fromkeys(name for name in (*given, self.labels, self.pair_id) if name))
            for first, batch in part.batches(0, part.num_rows, columns, batch_rows=SURVEY_ROWS):
                for name in given:
                    _words(batch.column(name), f"{part.path}: column {name!r}", first)
                if labels:
                    labels.survey(batch.column(self.labels).to_pylist(), where=f"{part.path}: column {self.labels!r}", first_row=first)
                if self.pair_id:
                    ids.append(_ids(batch.column(self.pair_id), f"{part.path}: column {self.pair_id!r}", first))
        if labels:
            labels.finish(where=parts[0].path)
        values, counts = np.unique(np.concatenate(ids), return_counts=True) if ids else (np.empty(0), np.empty(0))
        if (counts > 1).any():
            raise ReaderError(f"{parts[0].path}: column {self.pair_id!r} holds {values[counts > 1][0]} twice in these files; ids must be distinct")
        return labels

    def _splits(self, of_parts: Sequence[Split], parts: Sequence[TablePart]) -> dict[Split, Ids]:
        sizes = [part.num_rows for part in parts]
        if self.split_column:
            name, numbers = self.split_column, []
            for part in parts:
                for first, batch in part.batches(0, part.num_rows, [name], batch_rows=SURVEY_ROWS):
                    numbers.append(split_numbers(batch.column(name).to_pylist(), where=f"{part.path}: column {name!r}", first_row=first))
            numbers_N = np.concatenate(numbers)
        elif self.splits:
            numbers_N = np.repeat([SPLITS.index(split) for split in of_parts], sizes)
        else:
            return drawn_splits(sum(sizes), num_validation=self.num_validation, num_test=self.num_test, seed=self.seed, where=parts[0].path)
        return {split: np.flatnonzero(numbers_N == i) for i, split in enumerate(SPLITS)}


@dataclass(frozen=True)
class _Rows:
    """Any range of a split, from the tables that hold it; `ends` are the rows that all tables up to each one hold."""

    settings: TableReader
    parts: Sequence[TablePart]
    ends: Ids
    splits: Mapping[Split, Ids]
    labels: LabelWords | None

    def read(self, split: Split, start: int, stop: int) -> Iterator[RawRecords]:
        rows = self.splits[split][start:stop]
        numbers = np.searchsorted(self.ends, rows, side="right")
        columns = [name for name in self.settings.columns() if name != self.settings.split_column]
        for number in np.unique(numbers):
            part = self.parts[number]
            first = int(self.ends[number]) - part.num_rows
            at = rows[numbers == number] - first
            for begin, batch in part.batches(int(at[0]), int(at[-1]) + 1, columns, batch_rows=BATCH_ROWS):
                taken = at[(at >= begin) & (at < begin + len(batch))]
                if len(taken):
                    yield self._records(part, batch.take(pa.array(taken - begin)), taken, first=first)

    def _records(self, part: TablePart, batch: pa.RecordBatch, rows_B: Ids, *, first: int) -> RawRecords:
        settings = self.settings
        texts = batch.column(settings.text).to_pylist()
        root = absolute(settings.images or part.path.rpartition("/")[0] or ".")
        paths = batch.column(settings.image).to_pylist() if settings.image else [None] * len(rows_B)
        uris = [path if path is None or "://" in path or path.startswith("/") else join(root, path) for path in paths]
        images = _images(batch.column(settings.image_bytes), part.path, rows_B) if settings.image_bytes else None
        ids_B = first + rows_B
        if settings.pair_id:
            ids_B = _ids(batch.column(settings.pair_id), part.path, int(rows_B[0]))
        labels = None
        if self.labels:
            where = f"{part.path}: column {settings.labels!r}"
            labels = self.labels.numbers(batch.column(settings.labels).to_pylist(), where=where, rows=rows_B.tolist())
        return RawRecords(ids_B, texts, uris, images, labels)


def _words(column: pa.Array, where: str, first_row: int) -> None:
    """Check that every row of a column has words."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ReaderError(f"{where} is {column.type}; expected words in every row")
    missing_B = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True)
    if (rows := np.flatnonzero(missing_B.to_numpy(zero_copy_only=False))).size:
        raise ReaderError(f"{where}: row {first_row + rows[0]} (the first is 0) is empty; fill it in, or leave this row out")


def _ids(column: pa.Array, where: str, first_row: int) -> Ids:
    try:
        numbers = column.cast(pa.int64())
    except pa.ArrowException as error:
        raise ReaderError(f"{where}: from row {first_row}: ids must be whole numbers ({error})") from error
    if numbers.null_count:
        row = first_row + int(np.flatnonzero(numbers.is_null().to_numpy(zero_copy_only=False))[0])
        raise ReaderError(f"{where}: row {row} (the first is 0) has no id; fill it in, or count ids by leaving pair_id out")
    return numbers.to_numpy(zero_copy_only=False)


def _images(column: pa.Array, path: str, rows_B: Ids) -> list[bytes]:
    """Encoded images; a structure of bytes and path, as in tables from the Hugging Face hub, is understood."""
    column = column.field("bytes") if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0 else column
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise ReaderError(f"{path}: column of images is {column.type}; expected bytes of encoded images")
    images: list[bytes] = column.to_pylist()
    for row, image in zip(rows_B, images, strict=True):
        if not image:
            raise ReaderError(f"{path}: row {row} (the first is 0) has no image bytes; leave this row out")
    return images


def _digest(path: str) -> str:
    return digest_file(path) if (size_of(path) or 0) <= LARGEST_DIGESTED else names_and_samples([path])
