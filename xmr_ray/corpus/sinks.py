"""What becomes of the records of a part: pairs with their truth, or raw pairs; and how finished parts become a manifest."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from xmr_ray.component import Settings
from xmr_ray.corpus import statistics
from xmr_ray.corpus.columns import feature_matrix, pairs_schema, truth_schema
from xmr_ray.corpus.parts import PARTS, REJECTS, Part, PartReport, check_ids, remove_strangers
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.schema import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    RAW_MANIFEST_FILE,
    STATISTICS_FILE,
    CorpusSchema,
    FileEntry,
    Manifest,
    PairRecords,
    StatisticsEntry,
)
from xmr_ray.corpus.tables import PairTables, raw_schema, raw_table
from xmr_ray.errors import CorpusError
from xmr_ray.storage import digest_bytes, join, write_whole
from xmr_ray.types import SPLITS, FeatureStatistics, Split, widen

log = logging.getLogger(__name__)
PAIRS, TRUTH, RAW = "pairs", "truth", "raw"


class PairSink:
    """Pairs and their truth, as a corpus holds them; the moments of training features go into the statistics."""

    def __init__(self, root: str, part: Part, schema: CorpusSchema) -> None:
        self._root, self._schema, self._split = root, schema, part.split
        self._tables = PairTables(root, schema)
        self._has_truth: bool | None = None
        self._moments = {name: statistics.Moments(width) for name, width in (("image", schema.image_dim), ("text", schema.text_dim))}

    @property
    def files(self) -> Mapping[str, tuple[str, pa.Schema]]:
        """Where pairs and truth go."""
        return {
            PAIRS: ("{split}/pairs-{index:05d}.parquet", pairs_schema(self._schema)),
            TRUTH: ("truth/{split}-{index:05d}.parquet", truth_schema()),
        }

    def tables(self, split: Split, records: PairRecords, *, row: int) -> Mapping[str, pa.Table]:
        """Checked tables of a batch."""
        self._tables.check_shapes(split, records, row=row)
        pairs, truth = self._tables.tables(split, records, row=row)
        if self._has_truth not in (None, truth is not None):
            raise some_labels_only(self._root, split)
        self._has_truth = truth is not None
        return {PAIRS: pairs} if truth is None else {PAIRS: pairs, TRUTH: truth}

    def on_row_group(self, table: pa.Table) -> None:
        """Take training features into the moments."""
        if self._split != "train":
            return
        schema = self._schema
        for name, dtype, width in (("image", schema.image_dtype, schema.image_dim), ("text", schema.text_dtype, schema.text_dim)):
            self._moments[name].add(widen(feature_matrix(table.column(name), dtype=dtype, width=width, where=name), dtype))

    def numbers(self) -> Mapping[str, Any]:
        """The moments of a training part."""
        return {name: moments.to_json() for name, moments in self._moments.items()} if self._split == "train" else {}


class RawSink:
    """Raw pairs, labels and all, in one file."""

    def __init__(self, root: str, schema: RawSchema) -> None:
        self._root, self._schema = root, schema

    @property
    def files(self) -> Mapping[str, tuple[str, pa.Schema]]:
        """Where raw pairs go."""
        return {RAW: ("{split}/raw-{index:05d}.parquet", raw_schema(self._schema))}

    def tables(self, split: Split, records: RawRecords, *, row: int) -> Mapping[str, pa.Table]:
        """Checked tables of a batch."""
        return {RAW: raw_table(self._root, self._schema, split, records, row=row)}

    def on_row_group(self, table: pa.Table) -> None:
        """Nothing is kept of raw pairs."""

    def numbers(self) -> Mapping[str, Any]:
        """Nothing is kept of raw pairs."""
        return {}


class RawManifest(Settings):
    """`raw.json`: written last, so its existence means that all raw pairs are there."""

    format_version: Literal[1] = FORMAT_VERSION
    raw: RawSchema
    splits: Mapping[Split, tuple[FileEntry, ...]]


def finish_corpus(root: str, schema: CorpusSchema, reports: Sequence[PartReport]) -> Manifest:
    """Join the parts of a corpus, given in order: ids are checked across parts, and the manifest is written last.

    Raises:
        CorpusError: no training pair, an id in two parts, or truth for some pairs of a split only.
    """
    splits, truth = _entries(reports, PAIRS), _entries(reports, TRUTH)
    if not splits.get("train"):
        raise CorpusError(f"{root}: split 'train' is empty; a corpus needs at least one training pair")
    for split, files in truth.items():
        if len(files) != len(splits[split]):
            raise some_labels_only(root, split)
    check_ids(root, reports, pairs_kind=PAIRS)
    moments = {name: statistics.Moments(width) for name, width in (("image", schema.image_dim), ("text", schema.text_dim))}
    for report in reports:
        for name, content in report.numbers.items():
            moments[name].merge(statistics.Moments.from_json(content))
    image, text = moments["image"], moments["text"]
    data = statistics.to_bytes(FeatureStatistics(image.mean(), image.std(), text.mean(), text.std()))
    write_whole(join(root, STATISTICS_FILE), data)
    entry = StatisticsEntry(bytes=len(data), sha256=digest_bytes(data))
    manifest = Manifest(corpus=schema, splits=splits, truth=truth, statistics=entry)
    write_whole(join(root, MANIFEST_FILE), manifest.to_bytes())
    _tidy(root, reports, (*splits, "truth"))
    counts = " ".join(f"{split}={sum(file.rows for file in files)}" for split, files in splits.items())
    log.info("corpus written path=%s %s fingerprint=%s", root, counts, manifest.fingerprint[:12])
    return manifest


def some_labels_only(root: str, split: Split) -> CorpusError:
    """The error of a split of which only some pairs are labelled."""
    return CorpusError(f"{root}: labels for some pairs of {split!r} only; a split has truth for all of its pairs or for none")


def finish_raw(root: str, schema: RawSchema, reports: Sequence[PartReport]) -> RawManifest:
    """Join the parts of a raw corpus, as `finish_corpus` does."""
    splits = _entries(reports, RAW)
    if not splits.get("train"):
        raise CorpusError(f"{root}: split 'train' is empty; there is nothing to encode")
    check_ids(root, reports, pairs_kind=RAW)
    manifest = RawManifest(raw=schema, splits=splits)
    write_whole(join(root, RAW_MANIFEST_FILE), manifest.model_dump_json(indent=1).encode())
    _tidy(root, reports, splits)
    return manifest


def _entries(reports: Sequence[PartReport], kind: str) -> dict[Split, tuple[FileEntry, ...]]:
    found = {split: tuple(r.files[kind] for r in reports if r.part.split == split and kind in r.files) for split in SPLITS}
    return {split: files for split, files in found.items() if files}


def _tidy(root: str, reports: Sequence[PartReport], folders: Sequence[str] | Mapping[Split, Any]) -> None:
    kept = [entry.file for report in reports for entry in report.files.values()]
    remove_strangers(root, folders, kept)
    remove_strangers(root, [PARTS], [f"{PARTS}/{report.part.name}.json" for report in reports])
    remove_strangers(root, [REJECTS], [f"{REJECTS}/{report.part.name}.jsonl" for report in reports if report.num_rejected])
