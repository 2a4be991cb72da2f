"""Writing a corpus: streaming, checked, and whole or not at all (the manifest comes last)."""

import logging
from itertools import chain
from types import TracebackType
from typing import Self

import pyarrow as pa

from xmr_ray.corpus import statistics
from xmr_ray.corpus.columns import feature_matrix, pairs_schema, truth_schema
from xmr_ray.corpus.ids import IdSet
from xmr_ray.corpus.schema import MANIFEST_FILE, STATISTICS_FILE, CorpusSchema, Manifest, PairRecords, StatisticsEntry
from xmr_ray.corpus.shards import ShardWriter
from xmr_ray.corpus.tables import PairTables, repeated_id
from xmr_ray.errors import CorpusError
from xmr_ray.storage import digest_bytes, exists, join, read_bytes, remove_file, write_whole
from xmr_ray.types import SPLITS, FeatureStatistics, Split, widen

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
        self._ids, self._tables = IdSet(), PairTables(path, schema)
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
        pairs, truth = self._tables.tables(split, records, row=row)
        repeated = self._ids.add(records.pair_ids)
        if repeated is not None:
            raise repeated_id(self._path, split, records.pair_ids, repeated, row=row)
        self._pair_writer(split).append(pairs)
        if truth is not None:
            self._truth_writer(split).append(truth)
        self._rows[split] = row + len(records)

    def _check_shapes(self, split: Split, records: PairRecords) -> None:
        row = self._rows.get(split, 0)
        self._tables.check_shapes(split, records, row=row)
        if len(records) and split in self._rows and (records.labels is not None) != (split in self._truth):
            message = "labels for some pairs only; a split has truth for all of its pairs or for none"
            raise CorpusError(f"{self._path}: {split} from row {row}: {message}")

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
