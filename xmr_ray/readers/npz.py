"""Arrays in one npz file: `image_features`, `text_features`, `labels` (multi-hot), `label_names`, `split` (0 train, 1 validation, 2 test)."""

import gzip
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from xmr_ray.component import Component
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import Source, fingerprint
from xmr_ray.errors import ReaderError
from xmr_ray.readers.projection import project
from xmr_ray.readers.splits import hash_rows
from xmr_ray.storage import digest_bytes, exists, read_bytes
from xmr_ray.types import SPLITS, FeatureDtype, Ids, Split

ARRAYS = ("image_features", "text_features", "labels", "label_names", "split")
BATCH_ROWS = 4096
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class _Arrays:
    """Everything that the reader's files hold, row by row."""

    image_NI: NDArray[Any]
    text_NT: NDArray[Any]
    labels_NC: NDArray[np.bool_]
    class_names: tuple[str, ...]
    split_N: NDArray[np.int64]
    captions: list[str | None] | None
    thumbnails: list[bytes | None] | None


@dataclass(frozen=True)
class _Rows:
    """Reads rows of the arrays, split by split."""

    arrays: _Arrays
    rows: Mapping[Split, Ids]

    def __call__(self, split: Split, start: int, stop: int) -> Iterator[PairRecords]:
        arrays = self.arrays
        for first in range(start, stop, BATCH_ROWS):
            part = self.rows[split][first : min(first + BATCH_ROWS, stop)]
            labels = [np.flatnonzero(row_C).tolist() for row_C in arrays.labels_NC[part]]
            captions = arrays.captions and [arrays.captions[i] for i in part]
            thumbnails = arrays.thumbnails and [arrays.thumbnails[i] for i in part]
            yield PairRecords(part, arrays.image_NI[part], arrays.text_NT[part], labels, captions, None, thumbnails)


class NpzReader(Component):
    """Pairs from an npz file, with captions from a JSON-lines file and thumbnails from a Parquet file beside it. `pair_id` is the row.

    `drop_classes` (names or column numbers) drops labels, not pairs. `image_pca` projects image features on that many principal
    components of the train split and keeps their natural scale. `carve_validation` draws that many pairs from train, by a hash of
    (`seed`, row), where the file has no validation split.
    """

    kind: Literal["npz"] = "npz"
    path: str
    items: str | None = None
    caption_key: str = "text"
    thumbnails: str | None = None
    drop_classes: tuple[str | int, ...] = ()
    image_pca: PositiveInt | None = None
    dtype: FeatureDtype = "f32"
    multi_label: Literal["auto"] | bool = "auto"
    carve_validation: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    source: str = ""

    def read(self) -> Source:
        """Load the arrays and check them.

        Raises:
            ReaderError: a file is missing or not what it should be, arrays disagree, or a setting does not fit the file.
        """
        files = {path: _bytes_of(path) for path in (self.path, self.items, self.thumbnails) if path}
        arrays = self._load(files)
        num_classes_N = arrays.labels_NC.sum(axis=1)
        several = bool((num_classes_N != 1).any())
        if self.multi_label is False and several:
            row = int(np.flatnonzero(num_classes_N != 1)[0])
            raise ReaderError(f"{self.path}: row {row} has {num_classes_N[row]} labels, but multi_label is false; set multi_label: auto")
        schema = CorpusSchema(
            image_dim=self.image_pca or arrays.image_NI.shape[1],
            text_dim=arrays.text_NT.shape[1],
            image_dtype=self.dtype,
            text_dtype=self.dtype,
            class_names=arrays.class_names,
            multi_label=several if self.multi_label == "auto" else self.multi_label,
            source=self.source or self.path.rsplit("/", 1)[-1],
            reader=fingerprint(self, *(digest_bytes(data) for data in files.values()), ignore=("path", "items", "thumbnails")),
            has_captions=arrays.captions is not None,
            has_thumbnails=arrays.thumbnails is not None,
        )
        rows = {split: np.flatnonzero(arrays.split_N == number) for number, split in enumerate(SPLITS)}
        if self.image_pca is not None:
            arrays = replace(arrays, image_NI=project(arrays.image_NI, fit_on=arrays.split_N == 0, num_components=self.image_pca))
        return Source(schema, {split: len(found) for split, found in rows.items()}, _Rows(arrays, rows))

    def _load(self, files: dict[str, bytes]) -> _Arrays:
        found = _load_npz(files[self.path], path=self.path)
        num_rows = len(found["split"])
        for name in ("image_features", "text_features", "labels"):
            if found[name].ndim != 2 or len(found[name]) != num_rows:
                raise ReaderError(f"{self.path}: {name} has shape {found[name].shape}, expected ({num_rows}, width)")
        if found["labels"].shape[1] != len(found["label_names"]):
            raise ReaderError(f"{self.path}: labels has {found['labels'].shape[1]} columns for {len(found['label_names'])} label names")
        if not np.isin(found["labels"], (0, 1)).all():
            row = int(np.flatnonzero(~np.isin(found["labels"], (0, 1)).all(axis=1))[0])
            raise ReaderError(f"{self.path}: labels of row {row} are {found['labels'][row].tolist()}; expected 0 and 1")
        names = tuple(str(name) for name in found["label_names"])
        keep = self._kept_classes(names)
        return _Arrays(
            found["image_features"],
            found["text_features"],
            found["labels"][:, keep].astype(np.bool_),
            tuple(names[i] for i in keep),
            self._splits(found["split"]),
            _captions(files[self.items], path=self.items, key=self.caption_key, num_rows=num_rows) if self.items else None,
            _thumbnails(files[self.thumbnails], path=self.thumbnails, num_rows=num_rows) if self.thumbnails else None,
        )

    def _kept_classes(self, names: tuple[str, ...]) -> list[int]:
        dropped = set()
        for wanted in self.drop_classes:
            known = wanted in names if isinstance(wanted, str) else 0 <= wanted < len(names)
            if not known:
                raise ReaderError(f"{self.path}: drop_classes names {wanted!r}; the file has classes {', '.join(names[:20])}")
            dropped.add(names.index(wanted) if isinstance(wanted, str) else wanted)
        return [i for i in range(len(names)) if i not in dropped]

    def _splits(self, found: NDArray[Any]) -> NDArray[np.int64]:
        split_N = found.astype(np.int64)
        if not np.isin(split_N, (0, 1, 2)).all():
            row = int(np.flatnonzero(~np.isin(split_N, (0, 1, 2)))[0])
            raise ReaderError(f"{self.path}: split of row {row} is {found[row]}; expected 0 (train), 1 (validation) or 2 (test)")
        train = np.flatnonzero(split_N == 0)
        if not self.carve_validation:
            return split_N
        if (split_N == 1).any():
            raise ReaderError(f"{self.path}: carve_validation={self.carve_validation}, but the file has a validation split; leave it out")
        if self.carve_validation >= len(train):
            raise ReaderError(f"{self.path}: carve_validation={self.carve_validation} of {len(train)} training pairs leaves none")
        split_N[train[np.argsort(hash_rows(train, seed=self.seed), kind="stable")[: self.carve_validation]]] = 1
        return split_N


def _bytes_of(path: str) -> bytes:
    if not exists(path):
        raise ReaderError(f"{path}: no such file; correct the path in the reader's settings")
    return read_bytes(path)


def _load_npz(data: bytes, *, path: str) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            missing = [name for name in ARRAYS if name not in arrays]
            if missing:
                raise ReaderError(f"{path}: no array {missing[0]!r}; it holds {', '.join(arrays)}")
            return {name: arrays[name] for name in ARRAYS}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ReaderError(f"{path}: not an npz file of plain arrays ({error})") from error


def _captions(data: bytes, *, path: str, key: str, num_rows: int) -> list[str | None]:
    try:
        text = (gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data).decode()
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, EOFError, ValueError) as error:
        raise ReaderError(f"{path}: not a file of JSON lines ({error})") from error
    if len(rows) != num_rows:
        raise ReaderError(f"{path}: {len(rows)} lines for {num_rows} pairs; expected one line per row of the arrays")
    if not any(key in row for row in rows):
        raise ReaderError(f"{path}: no line has the key {key!r}; the first one has {', '.join(rows[0])}; set caption_key")
    return [row.get(key) for row in rows]


def _thumbnails(data: bytes, *, path: str, num_rows: int) -> list[bytes | None]:
    try:
        table = pq.read_table(io.BytesIO(data), columns=["row", "webp"])
    except (OSError, pa.ArrowException) as error:
        raise ReaderError(f"{path}: not a Parquet file with columns row and webp ({error})") from error
    found: list[bytes | None] = [None] * num_rows
    for row, image in zip(table.column("row").to_pylist(), table.column("webp").to_pylist(), strict=True):
        if not 0 <= row < num_rows:
            raise ReaderError(f"{path}: row {row} is outside the {num_rows} pairs")
        found[row] = image
    return found
