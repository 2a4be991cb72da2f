"""A Hugging Face dataset folder as `save_to_disk` writes it, read by Arrow alone."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, NonNegativeInt

from xmr_ray.component import Component
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.source import RawSource, fingerprint
from xmr_ray.errors import ReaderError
from xmr_ray.readers.labels import LabelColumn
from xmr_ray.readers.listing import names_and_samples
from xmr_ray.readers.splits import SPLIT_WORDS, drawn_splits
from xmr_ray.storage import absolute, exists, is_local, join, read_bytes, resolve
from xmr_ray.types import SPLITS, Ids, Split

BATCH_ROWS = 256
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


@dataclass(frozen=True)
class _ArrowFile:
    """A file of the Arrow streaming format and its number of rows."""

    path: str
    num_rows: int

    def batches(self, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Record batches of which some rows lie between `start` and `stop`, with their first row."""
        first = 0
        with _stream(self.path) as stream:
            for batch in stream:
                if first >= stop:
                    return
                if first + len(batch) > start:
                    yield first, batch
                first += len(batch)


@dataclass(frozen=True)
class _Folder:
    """One dataset of the folder: its files, its features as `dataset_info.json` tells them, and the fingerprint in `state.json`."""

    path: str
    files: Sequence[_ArrowFile]
    features: Mapping[str, Any]
    fingerprint: str

    @property
    def digest(self) -> str:
        """What tells it from another dataset."""
        return f"{self.fingerprint} {names_and_samples([file.path for file in self.files])}"


class HfDatasetReader(Component):
    """Raw pairs from `dataset_dict.json` with a folder per split, or from a folder of one dataset (then all is train).

    `image` is an Image feature (bytes, or a path), `text` a column of words, `labels` a ClassLabel, a list of them, or of numbers or
    names. Splits go by their names (train; validation, val or dev; test); `splits` names others. Where there is only train,
    `num_test` and `num_validation` pairs are drawn by a hash of (`seed`, row). Ids are counted over the splits without `pair_id`.
    The `datasets` library is not needed.
    """

    kind: Literal["hf_dataset"] = "hf_dataset"
    path: str
    splits: Mapping[Split, str] = Field(default_factory=dict)
    image: str = "image"
    text: str = "text"
    labels: str | None = None
    pair_id: str | None = None
    num_validation: NonNegativeInt = 0
    num_test: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    class_names: tuple[str, ...] | None = None
    multi_label: Literal["auto"] | bool = "auto"
    source: str = ""

    def read(self) -> RawSource:
        """Look at the folder's JSON files and at the labels; images are read with the records.

        Raises:
            ReaderError: the folder is no such dataset or damaged, or a column is missing or of another type.
        """
        folders = {split: self._folder(absolute(path)) for split, path in self._split_folders().items()}
        labels, class_names = self._labels(folders)
        rows = self._rows(folders)
        schema = RawSchema(
            class_names=class_names,
            multi_label=labels.multi_label if labels else self.multi_label is not False,
            has_labels=labels is not None,
            source=self.source or self.path.rstrip("/").rsplit("/", 1)[-1],
            reader=fingerprint(self, *(f"{split} {folder.digest}" for split, folder in folders.items()), ignore=("path",)),
        )
        return RawSource(schema, {split: len(chosen) for split, (_, chosen) in rows.items()}, _Rows(self, folders, rows, labels).read)

    def _split_folders(self) -> dict[Split, str]:
        listing = join(self.path, "dataset_dict.json")
        if not exists(listing):
            if not exists(join(self.path, "state.json")):
                raise ReaderError(f"{self.path}: neither dataset_dict.json nor state.json here; give the folder that save_to_disk wrote")
            if self.splits:
                raise ReaderError(f"{self.path}: holds one dataset, so splits={dict(self.splits)} finds none; leave splits out")
            return {"train": self.path}
        present = _json(listing).get("splits", [])
        known = {SPLIT_WORDS[name.lower()]: name for name in present if name.lower() in SPLIT_WORDS}
        wanted = self.splits or known
        if unknown := [name for name in wanted.values() if name not in present]:
            raise ReaderError(f"{self.path}: no split {unknown[0]!r}; it has {', '.join(present)}")
        if not self.splits and len(known) < len(present):
            left_out = next(name for name in present if name not in known.values())
            raise ReaderError(f"{self.path}: split {left_out!r} is neither train, validation nor test; say in splits which are to be read")
        return {split: join(self.path, wanted[split]) for split in SPLITS if split in wanted}

    def _folder(self, path: str) -> _Folder:
        state, info = _json(join(path, "state.json")), _json(join(path, "dataset_info.json"))
        if state.get("_indices_files") or state.get("_indices_data_files"):
            raise ReaderError(f"{path}: rows are chosen by an indices file; call flatten_indices() and save_to_disk again")
        names = [str(file.get("filename")) for file in state.get("_data_files", [])]
        if outside := [name for name in names if "/" in name or "\\" in name or name == ".."]:
            raise ReaderError(f"{path}: data file {outside[0]!r} of state.json lies outside of this folder; save the dataset again")
        files = []
        for name in names:
            num_rows = 0
            with _stream(join(path, name)) as stream:
                present = stream.schema.names
                if missing := [column for column in self.columns() if column not in present]:
                    raise ReaderError(f"{join(path, name)}: no column {missing[0]!r}; it has {', '.join(present)}")
                num_rows = sum(len(batch) for batch in stream)
            _check_end(join(path, name))
            files.append(_ArrowFile(join(path, name), num_rows))
        if not sum(file.num_rows for file in files):
            raise ReaderError(f"{path}: no rows; leave this split out")
        return _Folder(path, files, info.get("features") or {}, str(state.get("_fingerprint")))

    def columns(self) -> list[str]:
        """Columns that are read."""
        return list(dict.fromkeys(name for name in (self.image, self.text, self.labels, self.pair_id) if name is not None))

    def _labels(self, folders: Mapping[Split, _Folder]) -> tuple[LabelColumn | None, tuple[str, ...]]:
        if self.labels is None:
            return None, self.class_names or ()
        names = self.class_names or _class_names(next(iter(folders.values())).features.get(self.labels))
        labels = LabelColumn(names, multi_label=self.multi_label)
        for folder in folders.values():
            for file in folder.files:
                for first, batch in file.batches(0, file.num_rows):
                    _check_classes(batch.column(self.labels), names, where=f"{file.path}: from row {first}, {self.labels}")
                    labels.survey(batch.column(self.labels), where=f"{file.path}: from row {first}, {self.labels}")
        labels.finish(where=self.path)
        return labels, labels.class_names

    def _rows(self, folders: Mapping[Split, _Folder]) -> dict[Split, tuple[Split, Ids]]:
        """For every split the folder that holds it and the rows in there."""
        sizes = {split: sum(file.num_rows for file in folder.files) for split, folder in folders.items()}
        if not (self.num_test or self.num_validation):
            return {split: (split, np.arange(size)) for split, size in sizes.items()}
        if list(sizes) != ["train"]:
            raise ReaderError(f"{self.path}: num_test and num_validation do not go with splits {', '.join(sizes)} of the dataset; leave them out")
        drawn = drawn_splits(sizes["train"], num_validation=self.num_validation, num_test=self.num_test, seed=self.seed, where=self.path)
        return {split: ("train", rows) for split, rows in drawn.items()}


@dataclass(frozen=True)
class _Rows:
    """Any range of a split."""

    settings: HfDatasetReader
    folders: Mapping[Split, _Folder]
    rows: Mapping[Split, tuple[Split, Ids]]
    labels: LabelColumn | None

    def read(self, split: Split, start: int, stop: int) -> Iterator[RawRecords]:
        home, chosen = self.rows[split]
        rows, first_id = chosen[start:stop], sum(len(self.rows[s][1]) for s in SPLITS[: SPLITS.index(home)] if s in self.folders)
        begin = 0
        for file in self.folders[home].files:
            at = rows[(rows >= begin) & (rows < begin + file.num_rows)] - begin
            for first, batch in file.batches(int(at[0]), int(at[-1]) + 1) if len(at) else ():
                inside = at[(at >= first) & (at < first + len(batch))]
                for part in range(0, len(inside), BATCH_ROWS):
                    at_B = inside[part : part + BATCH_ROWS]
                    taken = batch.select(self.settings.columns()).take(pa.array(at_B - first))
                    yield self._records(file, taken, at_B, ids_B=first_id + begin + at_B)
            begin += file.num_rows

    def _records(self, file: _ArrowFile, batch: pa.RecordBatch, at_B: Ids, *, ids_B: Ids) -> RawRecords:
        settings = self.settings
        texts = batch.column(settings.text).to_pylist()
        for row, text in zip(at_B, texts, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise ReaderError(f"{file.path}: row {row}: column {settings.text!r} holds {text!r}; expected words, leave this row out")
        pictures = [_picture(cell, file, int(row), settings.image) for row, cell in zip(at_B, batch.column(settings.image).to_pylist(), strict=True)]
        labels = None
        if self.labels:
            where = f"{file.path}: from row {at_B[0]}"
            labels = [sorted(set(row)) for row in self.labels.numbers(batch.column(settings.labels), where=where)]
        if settings.pair_id:
            ids_B = _ids(batch.column(settings.pair_id), where=f"{file.path}: from row {at_B[0]}, {settings.pair_id}")
        return RawRecords(ids_B, texts, [uri for uri, _ in pictures], [data for _, data in pictures], labels)


def _picture(cell: Any, file: _ArrowFile, row: int, column: str) -> tuple[str | None, bytes | None]:
    """Where the image lies and its bytes, from a structure of bytes and path, a path, or bytes."""
    found = cell if isinstance(cell, dict) else {"path": cell} if isinstance(cell, str) else {"bytes": cell}
    path, data = found.get("path"), found.get("bytes")
    if not isinstance(data, bytes) and (data is not None or not isinstance(path, str)):
        raise ReaderError(f"{file.path}: row {row}: column {column!r} has neither bytes nor path of an image; expected an Image feature")
    # beside bytes the path is only the name that the image once had
    return (absolute(str(path)) if data is None else None), data


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """Names of a ClassLabel, or of the ones in a list (`Sequence`, `List`, or a JSON list)."""
    while isinstance(feature, list | dict):
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            return tuple(feature.get("names") or ()) or None
        feature = feature[0] if isinstance(feature, list) and feature else feature.get("feature") if isinstance(feature, dict) else None
    return None


def _check_classes(column: pa.Array, names: Sequence[str] | None, *, where: str) -> None:
    values = column.flatten() if hasattr(column, "flatten") and pa.types.is_list(column.type) else column
    if not pa.types.is_integer(values.type) or values.null_count:
        return
    numbers = values.to_numpy(zero_copy_only=False)
    wrong = numbers[(numbers < 0) | (numbers >= (len(names) if names else np.inf))]
    if len(wrong):
        advice = "-1 means that a pair has no label: leave that split or `labels` out" if wrong[0] == -1 else "correct class_names"
        raise ReaderError(f"{where}: class {wrong[0]}; expected 0 to {len(names) - 1 if names else 'the number of classes less one'} ({advice})")


def _ids(column: pa.Array, *, where: str) -> Ids:
    if column.null_count or not pa.types.is_integer(column.type):
        raise ReaderError(f"{where}: ids are {column.type} with {column.null_count} nulls; expected integers without nulls")
    return column.to_numpy(zero_copy_only=False).astype(np.int64)


def _json(path: str) -> dict[str, Any]:
    if not exists(path):
        raise ReaderError(f"{path}: is missing; give the folder that save_to_disk wrote")
    try:
        found = json.loads(read_bytes(path))
    except ValueError as error:
        raise ReaderError(f"{path}: cannot be parsed ({error}); save the dataset again") from error
    if not isinstance(found, dict):
        raise ReaderError(f"{path}: holds no JSON object; save the dataset again")
    return found


def _check_end(path: str) -> None:
    """Arrow takes a stream that ends after any batch for a whole one; the writer closes it with a mark."""
    filesystem, inner = resolve(path)
    with filesystem.open_input_file(inner) as file:
        file.seek(file.size() - len(END_OF_STREAM))
        if bytes(file.read()) != END_OF_STREAM:
            raise ReaderError(f"{path}: has no end-of-stream mark, so it is cut short; save the dataset again")


@contextmanager
def _stream(path: str) -> Iterator[pa.RecordBatchReader]:
    filesystem, inner = resolve(path)
    try:
        file = pa.memory_map(inner) if is_local(path) else filesystem.open_input_file(inner)
        with file, pa.ipc.open_stream(file) as stream:
            yield stream
    except (OSError, pa.ArrowException) as error:
        raise ReaderError(f"{path}: cannot be read as an Arrow stream, perhaps cut short ({error}); save the dataset again") from error
