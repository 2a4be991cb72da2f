"""Tar shards of images and texts, as img2dataset and webdataset write them."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, NonNegativeInt, model_validator

from xmr_ray.component import Component
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.source import RawSource, fingerprint
from xmr_ray.errors import ReaderError
from xmr_ray.readers.labels import LabelColumn
from xmr_ray.readers.listing import files_at, names_and_samples
from xmr_ray.readers.splits import drawn_splits, split_numbers
from xmr_ray.readers.tar_shards import TarShard, scan_tar
from xmr_ray.types import SPLITS, Ids, Split

log = logging.getLogger(__name__)
BATCH_ROWS = 256


class WebdatasetReader(Component):
    """Raw pairs from tar files with members `key.jpg` (or jpeg, png, webp), `key.txt` and `key.json`; other members are left alone.

    `path` is a folder, a pattern or one tar file. Splits come from `splits` (a folder, pattern or file each, instead of `path`), from
    `split_key`, or `num_test` and `num_validation` pairs are drawn by a hash of (`seed`, row). `text_key`, `uri_key`, `pair_id`, `labels`
    (a list of names or numbers, or one) and `split_key` are keys in the json. Ids are counted over all complete samples, in the order of
    the files' names, without `pair_id`. Samples without an image or without a text are left out and counted in the log.
    """

    kind: Literal["webdataset"] = "webdataset"
    path: str | None = None
    splits: Mapping[Split, str] = Field(default_factory=dict)
    text_key: str | None = None
    uri_key: str | None = None
    pair_id: str | None = None
    labels: str | None = None
    split_key: str | None = None
    num_validation: NonNegativeInt = 0
    num_test: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    class_names: tuple[str, ...] | None = None
    multi_label: Literal["auto"] | bool = "auto"
    source: str = ""

    @model_validator(mode="after")
    def _one_way_to_splits(self) -> Self:
        if (self.path is None) == (not self.splits):
            raise ValueError("give either path or splits, one folder, pattern or file per split")
        if sum((bool(self.splits), self.split_key is not None, self.num_validation + self.num_test > 0)) > 1:
            raise ValueError("splits, split_key and num_validation or num_test exclude each other")
        return self

    def read(self) -> RawSource:
        """Scan the headers of every tar file, and read the json of every sample where labels, ids or splits come from it.

        Raises:
            ReaderError: a file is missing or damaged, a member must not be there, or a json lacks a key that is asked for.
        """
        wanted: Mapping[Split, str] = self.splits or {"train": self.path or ""}
        named = [(split, file) for split in SPLITS if split in wanted for file in files_at(wanted[split], suffixes=(".tar",))]
        required = ("image", "json") if self.text_key else ("image", "txt")
        shards = [scan_tar(path, required=required) for _, path in named]
        num_incomplete = sum(shard.num_incomplete for shard in shards)
        log.info("webdataset files=%d samples=%d incomplete=%d", len(shards), sum(map(len, shards)), num_incomplete)
        ends = np.cumsum([len(shard) for shard in shards])
        labels, ids_N = self._survey(shards)
        splits = self._splits([split for split, _ in named], shards)
        schema = RawSchema(
            class_names=labels.class_names if labels else self.class_names or (),
            multi_label=labels.multi_label if labels else self.multi_label is not False,
            has_labels=labels is not None,
            source=self.source or next(iter(wanted.values())).rstrip("/").rsplit("/", 1)[-1],
            reader=fingerprint(self, "\n".join(f"{split} {names_and_samples([path])}" for split, path in named), ignore=("path", "splits")),
        )
        rows = {split: len(chosen) for split, chosen in splits.items()}
        return RawSource(schema, rows, _Samples(shards, ends, splits, ids_N, labels, self).read)

    def _survey(self, shards: Sequence[TarShard]) -> tuple[LabelColumn | None, Ids | None]:
        """Classes and ids, where the json holds them."""
        labels = LabelColumn(self.class_names, multi_label=self.multi_label) if self.labels else None
        ids: list[Any] = []
        for shard in shards if labels or self.pair_id else ():
            notes = _notes(shard, range(len(shard)))
            if labels:
                labels.survey(_column(shard, range(len(shard)), notes, str(self.labels)), where=f"{shard.path}: json key {self.labels!r}")
            if self.pair_id:
                ids += [_whole(_value(shard, row, note, self.pair_id), shard, row, self.pair_id) for row, note in enumerate(notes)]
        if labels:
            labels.finish(where=shards[0].path)
        values, counts = np.unique(np.array(ids, dtype=np.int64), return_counts=True)
        if (counts > 1).any():
            repeated = values[counts > 1][0]
            raise ReaderError(f"{shards[0].path}: json key {self.pair_id!r} holds {repeated} twice in these files; ids must be distinct")
        return labels, np.array(ids, dtype=np.int64) if self.pair_id else None

    def _splits(self, of_shards: Sequence[Split], shards: Sequence[TarShard]) -> dict[Split, Ids]:
        num_rows = sum(map(len, shards))
        if not num_rows:
            raise ReaderError(f"{shards[0].path}: no complete sample in any file; expected members such as 000.jpg with 000.txt")
        if self.split_key:
            numbers = []
            for shard in shards:
                words = [_value(shard, row, note, self.split_key) for row, note in enumerate(_notes(shard, range(len(shard))))]
                numbers.append(split_numbers(words, where=shard.path))
            numbers_N = np.concatenate(numbers)
        elif self.splits:
            numbers_N = np.repeat([SPLITS.index(split) for split in of_shards], [len(shard) for shard in shards])
        else:
            return drawn_splits(num_rows, num_validation=self.num_validation, num_test=self.num_test, seed=self.seed, where=shards[0].path)
        return {split: np.flatnonzero(numbers_N == i) for i, split in enumerate(SPLITS)}


@dataclass(frozen=True)
class _Samples:
    """Any range of a split, from the tar files that hold it; `ends` are the samples that all files up to each one hold."""

    shards: Sequence[TarShard]
    ends: Ids
    splits: Mapping[Split, Ids]
    ids_N: Ids | None
    labels: LabelColumn | None
    settings: WebdatasetReader

    def read(self, split: Split, start: int, stop: int) -> Iterator[RawRecords]:
        for begin in range(start, stop, BATCH_ROWS):
            rows_B = self.splits[split][begin : min(begin + BATCH_ROWS, stop)]
            numbers_B = np.searchsorted(self.ends, rows_B, side="right")
            for number in np.unique(numbers_B):
                shard = self.shards[number]
                yield self._records(shard, rows_B[numbers_B == number], first=int(self.ends[number]) - len(shard))

    def _records(self, shard: TarShard, rows_B: Ids, *, first: int) -> RawRecords:
        rows, settings = (rows_B - first).tolist(), self.settings
        notes = _notes(shard, rows) if settings.text_key or settings.uri_key or self.labels else [None] * len(rows)
        if settings.text_key:
            texts = [_text(_value(shard, row, note, settings.text_key), shard, row) for row, note in zip(rows, notes, strict=True)]
        else:
            texts = [_text(data, shard, row) for row, data in zip(rows, shard.parts(rows, "txt"), strict=True)]
        uris = [None if settings.uri_key is None or note is None else note.get(settings.uri_key) for note in notes]
        labels = None
        if self.labels:
            where = f"{shard.path}: json key {settings.labels!r}"
            labels = [sorted(set(row)) for row in self.labels.numbers(_column(shard, rows, notes, str(settings.labels)), where=where)]
            _check_classes(labels, shard, rows, num_classes=len(self.labels.class_names))
        ids_B = rows_B if self.ids_N is None else self.ids_N[rows_B]
        return RawRecords(ids_B, texts, uris, shard.parts(rows, "image"), labels)


def _notes(shard: TarShard, rows: Sequence[int]) -> list[dict[str, Any] | None]:
    """The json of some samples, None where there is none."""
    found: list[dict[str, Any] | None] = []
    for row, data in zip(rows, shard.parts(rows, "json"), strict=True):
        try:
            note = None if data is None else json.loads(data)
        except ValueError as error:
            raise ReaderError(f"{shard.path}: sample {shard.keys[row]!r}: its json cannot be read ({error})") from error
        if note is not None and not isinstance(note, dict):
            raise ReaderError(f"{shard.path}: sample {shard.keys[row]!r}: its json is no object")
        found.append(note)
    return found


def _value(shard: TarShard, row: int, note: Mapping[str, Any] | None, key: str) -> Any:
    if note is None or note.get(key) is None:
        has = "has no json" if note is None else f"has {', '.join(note)}"
        raise ReaderError(f"{shard.path}: sample {shard.keys[row]!r}: no json key {key!r}; it {has}")
    return note[key]


def _text(value: Any, shard: TarShard, row: int) -> str:
    try:
        text = value.decode("utf-8-sig") if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise ReaderError(f"{shard.path}: sample {shard.keys[row]!r}: its text is not UTF-8 ({error})") from error
    if not isinstance(text, str):
        raise ReaderError(f"{shard.path}: sample {shard.keys[row]!r}: its text is {text!r}; expected words")
    return text.strip()


def _whole(value: Any, shard: TarShard, row: int, key: str) -> int:
    try:
        return int(str(value))
    except (TypeError, ValueError) as error:
        raise ReaderError(f"{shard.path}: sample {shard.keys[row]!r}: json key {key!r} is {value!r}; expected a whole number") from error


def _column(shard: TarShard, rows: Sequence[int], notes: Sequence[Mapping[str, Any] | None], key: str) -> pa.Array:
    values = [_value(shard, row, note, key) for row, note in zip(rows, notes, strict=True)]
    try:
        return pa.array([value if isinstance(value, list) else [value] for value in values], type=None if any(values) else pa.list_(pa.int64()))
    except (pa.ArrowException, TypeError) as error:
        raise ReaderError(f"{shard.path}: json key {key!r}: neither names nor numbers throughout ({error})") from error


def _check_classes(labels: Sequence[Sequence[int]], shard: TarShard, rows: Sequence[int], *, num_classes: int) -> None:
    for row, classes in zip(rows, labels, strict=True):
        if any(not 0 <= number < num_classes for number in classes):
            raise ReaderError(f"{shard.path}: sample {shard.keys[row]!r}: classes {list(classes)}; expected numbers below {num_classes}")
