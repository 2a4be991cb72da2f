"""Writing a corpus: streaming, checked, and whole or not at all (the manifest comes last)."""

import logging
from itertools import chain
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmr_ray.corpus import statistics
from xmr_ray.corpus.columns import ITEM_COLUMNS, feature_array, feature_matrix, pairs_schema, stored_as, truth_schema
from xmr_ray.corpus.ids import IdSet
from xmr_ray.corpus.schema import MANIFEST_FILE, STATISTICS_FILE, CorpusSchema, Manifest, PairRecords, StatisticsEntry
from xmr_ray.corpus.shards import ShardWriter
from xmr_ray.errors import CorpusError
from xmr_ray.storage import digest_bytes, exists, join, read_bytes, remove_file, write_whole
from xmr_ray.types import SPLITS, FeatureDtype, FeatureStatistics, Split, widen

logger = logging.getLogger(__name__)
LARGEST_ROW_GROUP, SMALLEST_ROW_GROUP, WANTED_ROW_GROUPS = 4096, 128, 8


def suggest_row_group(num_rows: int) -> int:
    """The largest power of two between 128 and 4,096 that cuts `num_rows` into at least 8 row groups.

    >>> suggest_row_group(2465), suggest_row_group(100_000), suggest_row_group(10)
    (256, 4096, 128)
    """
    size = LARGEST_ROW_GROUP
    while size > SMALLEST_ROW_GROUP and -(-num_rows // size) < WANTED_ROW_GROUPS:
        size //= 2
    return size


def is_complete(path: str, schema: CorpusSchema) -> bool:
    """Whether a finished corpus of this very schema (its reader's fingerprint included) lies at `path`."""
    manifest = join(path, MANIFEST_FILE)
    return exists(manifest) and Manifest.from_bytes(read_bytes(manifest), path=manifest).corpus == schema


class CorpusWriter:
    """Writes a corpus; use it as a context manager. After an exception nothing is left that opens as a corpus.

    Raises:
        CorpusError: at the start if `path` holds a finished corpus; on `write` and `close` for what must not be in a corpus.
    """

    def __init__(self, path: str, schema: CorpusSchema, *, rows_per_file: int = 65536, row_group_rows: int | None = None) -> None:
        if exists(join(path, MANIFEST_FILE)):
            raise CorpusError(f"{path}: a finished corpus lies here; remove it or choose another path")
        if rows_per_file < 1 or (row_group_rows is not None and row_group_rows < 1):
            raise CorpusError(f"{path}: rows_per_file={rows_per_file} and row_group_rows={row_group_rows} must be at least 1")
        self._path, self._schema = path, schema
        self._rows_per_file, self._row_group_rows = rows_per_file, row_group_rows or 2048
        self._pairs: dict[Split, ShardWriter] = {}
        self._truth: dict[Split, ShardWriter] = {}
        self._rows: dict[Split, int] = {}
        self._ids = IdSet()
        self._image, self._text = statistics.Moments(schema.image_dim), statistics.Moments(schema.text_dim)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.close()
        except BaseException:
            self.abort()
            raise

    def write(self, split: Split, records: PairRecords) -> None:
        """Append pairs to a split, in any number of batches of any size.

        Raises:
            CorpusError: wrong shapes, values that are not finite in the storage type, a repeated id, labels outside the classes;
                the message names the row within the split and the id.
        """
        self._check_shapes(split, records)
        for start in range(0, len(records), self._row_group_rows):
            self._write_part(split, records.slice(start, start + self._row_group_rows))

    def close(self) -> None:
        """Finish every file, then write the manifest."""
        if not self._rows.get("train"):
            raise CorpusError(f"{self._path}: split 'train' is empty; a corpus needs at least one training pair")
        splits = {split: self._pairs[split].close() for split in SPLITS if split in self._pairs}
        truth = {split: self._truth[split].close() for split in SPLITS if split in self._truth}
        moments = FeatureStatistics(self._image.mean(), self._image.std(), self._text.mean(), self._text.std())
        data = statistics.to_bytes(moments)
        write_whole(join(self._path, STATISTICS_FILE), data)
        entry = StatisticsEntry(bytes=len(data), sha256=digest_bytes(data))
        manifest = Manifest(corpus=self._schema, splits=splits, truth=truth, statistics=entry)
        write_whole(join(self._path, MANIFEST_FILE), manifest.to_bytes())
        counts = " ".join(f"{split}={self._rows[split]}" for split in splits)
        logger.info("corpus written path=%s %s fingerprint=%s", self._path, counts, manifest.fingerprint[:12])

    def abort(self) -> None:
        """Remove what was written so far."""
        for writer in chain(self._pairs.values(), self._truth.values()):
            writer.abort()
        remove_file(join(self._path, STATISTICS_FILE))

    def _write_part(self, split: Split, records: PairRecords) -> None:
        row = self._rows.get(split, 0)
        self._check_labels(split, records, row)
        columns = [pa.array(records.pair_ids, type=pa.int64())]
        for name, dtype in (("image", self._schema.image_dtype), ("text", self._schema.text_dtype)):
            columns.append(self._feature_column(split, name, dtype, records=records, row=row))
        repeated = self._ids.add(records.pair_ids)
        if repeated is not None:
            raise CorpusError(
                f"{self._where(split, records, row, repeated)}: pair_id is repeated; every pair needs its own id, in all splits together"
            )
        schema = pairs_schema(self._schema)
        for name in schema.names[3:]:
            rows = getattr(records, f"{name}s")
            columns.append(pa.array(rows, type=schema.field(name).type))
        self._pair_writer(split).append(pa.table(columns, schema=schema))
        if records.labels is not None:
            labels = pa.array([sorted(classes) for classes in records.labels], type=truth_schema().field("labels").type)
            self._truth_writer(split).append(pa.table([columns[0], labels], schema=truth_schema()))
        self._rows[split] = row + len(records)

    def _feature_column(self, split: Split, name: str, dtype: FeatureDtype, *, records: PairRecords, row: int) -> pa.Array:
        features_BW = getattr(records, name)
        finite_BW = np.isfinite(features_BW)
        if not finite_BW.all():
            at = int(np.flatnonzero(~finite_BW.all(axis=1))[0])
            dim = int(np.flatnonzero(~finite_BW[at])[0])
            where = self._where(split, records, row, at)
            raise CorpusError(f"{where}: {name}[{dim}] is {features_BW[at, dim]}, expected finite numbers; clean the features")
        try:
            return feature_array(stored_as(features_BW, dtype), dtype)
        except CorpusError as error:
            at = _first_misfit(features_BW, dtype)
            raise CorpusError(f"{self._where(split, records, row, at)}: {name} {error}") from error

    def _check_shapes(self, split: Split, records: PairRecords) -> None:
        num_rows = len(records)
        where = f"{self._path}: {split} from row {self._rows.get(split, 0)}"
        for name, width in (("image", self._schema.image_dim), ("text", self._schema.text_dim)):
            shape = getattr(records, name).shape
            if shape != (num_rows, width):
                raise CorpusError(f"{where}: {name} features have shape {shape}, expected {(num_rows, width)}")
        for name in ("labels", *(f"{column}s" for column in ITEM_COLUMNS)):
            rows = getattr(records, name)
            if rows is not None and len(rows) != num_rows:
                raise CorpusError(f"{where}: {len(rows)} {name} for {num_rows} pairs")
        for column, has in ITEM_COLUMNS.items():
            if (getattr(records, f"{column}s") is not None) != getattr(self._schema, has):
                raise CorpusError(f"{where}: the schema says {has}={getattr(self._schema, has)}, the records disagree")
        if num_rows and split in self._rows and (records.labels is not None) != (split in self._truth):
            raise CorpusError(f"{where}: labels for some pairs only; a split has truth for all of its pairs or for none")

    def _check_labels(self, split: Split, records: PairRecords, row: int) -> None:
        for i, classes in enumerate(records.labels or ()):
            outside = [c for c in classes if not 0 <= c < self._schema.num_classes]
            if outside:
                raise CorpusError(f"{self._where(split, records, row, i)}: label {outside[0]} is outside the {self._schema.num_classes} classes")
            if len(set(classes)) != len(classes):
                raise CorpusError(f"{self._where(split, records, row, i)}: labels {list(classes)} name a class twice")
            if not self._schema.multi_label and len(classes) != 1:
                raise CorpusError(f"{self._where(split, records, row, i)}: {len(classes)} labels, but the corpus is single-label")

    def _where(self, split: Split, records: PairRecords, row: int, at: int) -> str:
        return f"{self._path}: {split} row {row + at} (pair_id {records.pair_ids[at]})"

    def _pair_writer(self, split: Split) -> ShardWriter:
        if split not in self._pairs:
            hook = self._add_moments if split == "train" else None
            self._pairs[split] = ShardWriter(
                self._path,
                split + "/pairs-{:05d}.parquet",
                pairs_schema(self._schema),
                rows_per_file=self._rows_per_file,
                row_group_rows=self._row_group_rows,
                on_row_group=hook,
            )
        return self._pairs[split]

    def _truth_writer(self, split: Split) -> ShardWriter:
        if split not in self._truth:
            self._truth[split] = ShardWriter(
                self._path,
                f"truth/{split}" + "-{:05d}.parquet",
                truth_schema(),
                rows_per_file=self._rows_per_file,
                row_group_rows=self._row_group_rows,
            )
        return self._truth[split]

    def _add_moments(self, table: pa.Table) -> None:
        schema = self._schema
        image_BI = feature_matrix(table.column("image"), dtype=schema.image_dtype, width=schema.image_dim, where="image")
        text_BT = feature_matrix(table.column("text"), dtype=schema.text_dtype, width=schema.text_dim, where="text")
        self._image.add(widen(image_BI, schema.image_dtype))
        self._text.add(widen(text_BT, schema.text_dtype))


def _first_misfit(features_BW: NDArray[Any], dtype: FeatureDtype) -> int:
    for at, features_W in enumerate(features_BW):
        try:
            stored_as(features_W, dtype)
        except CorpusError:
            return at
    raise AssertionError("no row misfits")
