"""The full check of a corpus: every byte, row and id. It collects what it finds instead of stopping at the first."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmr_ray.corpus import statistics
from xmr_ray.corpus.columns import feature_matrix, pairs_schema
from xmr_ray.corpus.ids import IdSet
from xmr_ray.corpus.open import corpus_root
from xmr_ray.corpus.schema import MANIFEST_FILE, FileEntry, Manifest
from xmr_ray.corpus.stream import open_parquet
from xmr_ray.errors import CorpusError, StorageError
from xmr_ray.storage import digest_bytes, digest_file, exists, join, read_bytes, size_of
from xmr_ray.types import SPLITS, Ids, widen

MAX_FINDINGS = 1000


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `row` counts within the file, None where the whole file or split is meant."""

    file: str
    row: int | None
    pair_id: int | None
    message: str

    def __str__(self) -> str:
        row = "" if self.row is None else f" row {self.row}"
        pair = "" if self.pair_id is None else f" (pair_id {self.pair_id})"
        return f"{self.file}{row}{pair}: {self.message}"


@dataclass(frozen=True)
class CheckReport:
    """What a full check found, in file order, at most 1,000 findings; `num_pairs` were looked at."""

    path: str
    num_pairs: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def check_corpus(path: str) -> CheckReport:
    """Read all of a corpus and report what is wrong with it, at most two row groups in memory.

    Looked for: missing files, changed bytes (hashes and page checksums), other rows or dims than the manifest says, values that are not
    finite, repeated ids, truth that lies in another order than the pairs or misses some, labels outside the classes, empty splits.
    """
    root = corpus_root(path)
    manifest_path = join(root, MANIFEST_FILE)
    if not exists(manifest_path):
        return CheckReport(path, 0, (Finding(MANIFEST_FILE, None, None, f"no corpus at {path}; run `xmr-ray ingest` or correct the path"),))
    try:
        manifest = Manifest.from_bytes(read_bytes(manifest_path), path=MANIFEST_FILE)
    except CorpusError as error:
        return CheckReport(path, 0, (Finding(MANIFEST_FILE, None, None, str(error)),))
    check = _Check(root, manifest)
    found: list[Finding] = []
    for finding in check.run():
        found.append(finding)
        if len(found) == MAX_FINDINGS:
            break
    return CheckReport(path, check.num_pairs, tuple(found))


class _Check:
    def __init__(self, root: str, manifest: Manifest) -> None:
        self._root, self._manifest, self._schema = root, manifest, manifest.corpus
        self._ids = IdSet()
        self.num_pairs = 0

    def run(self) -> Iterator[Finding]:
        for split in SPLITS:
            pairs, truth = self._manifest.splits.get(split, ()), self._manifest.truth.get(split, ())
            if not pairs and (split != "validation" or split in self._manifest.splits):
                yield Finding(MANIFEST_FILE, None, None, f"split {split!r} is empty")
            for i, entry in enumerate(pairs):
                ids, findings = self._pairs(entry)
                yield from findings
                if truth:
                    yield from self._truth(truth[i], pairs=entry, ids=ids)
        yield from self._statistics()

    def _bytes(self, entry: FileEntry) -> Iterator[Finding]:
        path = join(self._root, entry.file)
        size = size_of(path)
        if size is None:
            yield Finding(entry.file, None, None, "the file is missing")
        elif size != entry.bytes:
            yield Finding(entry.file, None, None, f"has {size} bytes, the manifest says {entry.bytes}")
        elif digest_file(path) != entry.sha256:
            yield Finding(entry.file, None, None, "the bytes differ from the manifest's hash: the file was changed or damaged")

    def _pairs(self, entry: FileEntry) -> tuple[Ids | None, list[Finding]]:
        """Ids of a pair file, None where they cannot be known, and what is wrong with the file."""
        findings, ids = list(self._bytes(entry)), []
        row, whole = 0, True
        for group, table in self._row_groups(entry, columns=pairs_schema(self._schema).names):
            num_rows = entry.row_groups[group] if group < len(entry.row_groups) else 0
            if isinstance(table, str):
                findings.append(Finding(entry.file, row, None, f"row group {group}: {table}"))
                row, whole = row + num_rows, False
                continue
            ids_B = table.column("pair_id").to_numpy()
            findings += self._rows(entry, table, ids_B=ids_B, first_row=row)
            if len(table) != num_rows:
                findings.append(Finding(entry.file, row, None, f"row group {group} holds {len(table)} rows, the manifest says {num_rows}"))
            ids.append(ids_B)
            row += len(table)
        if row < entry.rows and whole:
            whole = False
            if not findings:
                findings.append(Finding(entry.file, row, None, f"holds {row} rows, the manifest says {entry.rows}"))
        self.num_pairs += row
        return (np.concatenate(ids) if whole and ids else None), findings

    def _row_groups(self, entry: FileEntry, *, columns: list[str]) -> Iterator[tuple[int, pa.Table | str]]:
        """Row groups of a file; in place of one that cannot be read, why not."""
        path = join(self._root, entry.file)
        if not exists(path):
            return
        try:
            file = open_parquet(path)
        except CorpusError as error:
            yield 0, str(error.__cause__)
            return
        with file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                yield 0, f"no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}"
                return
            for group in range(file.num_row_groups):
                yield group, _read(file, group, columns)

    def _rows(self, entry: FileEntry, table: pa.Table, *, ids_B: Ids, first_row: int) -> Iterator[Finding]:
        schema = self._schema
        for name, dtype, width in (("image", schema.image_dtype, schema.image_dim), ("text", schema.text_dtype, schema.text_dim)):
            try:
                stored_BW = feature_matrix(table.column(name), dtype=dtype, width=width, where=name)
            except CorpusError as error:
                yield Finding(entry.file, first_row, None, str(error))
                continue
            finite_BW = np.isfinite(widen(stored_BW, dtype))
            for at in np.flatnonzero(~finite_BW.all(axis=1)).tolist():
                dim = int(np.flatnonzero(~finite_BW[at])[0])
                yield Finding(entry.file, first_row + at, int(ids_B[at]), f"{name}[{dim}] is {widen(stored_BW[at], dtype)[dim]}")
        yield from self._repeated(entry, ids_B, first_row)

    def _repeated(self, entry: FileEntry, ids_B: Ids, first_row: int) -> Iterator[Finding]:
        left = np.arange(len(ids_B))
        while (at := self._ids.add(ids_B[left])) is not None:
            yield Finding(entry.file, first_row + int(left[at]), int(ids_B[left[at]]), "pair_id is repeated")
            left = np.delete(left, at)

    def _truth(self, entry: FileEntry, *, pairs: FileEntry, ids: Ids | None) -> Iterator[Finding]:
        yield from self._bytes(entry)
        found, row, whole = [], 0, True
        for group, table in self._row_groups(entry, columns=["pair_id", "labels"]):
            if isinstance(table, str):
                yield Finding(entry.file, row, None, f"row group {group}: {table}")
                whole = False
                continue
            found.append(table.column("pair_id").to_numpy())
            yield from self._labels(entry, table, first_row=row)
            row += len(table)
        if found and whole and ids is not None:
            yield from _alignment(entry, pairs, np.concatenate(found), ids)

    def _labels(self, entry: FileEntry, table: pa.Table, *, first_row: int) -> Iterator[Finding]:
        num_classes, ids_B = self._schema.num_classes, table.column("pair_id").to_pylist()
        labels = [row or [] for row in table.column("labels").to_pylist()]
        for i, (pair_id, classes) in enumerate(zip(ids_B, labels, strict=True)):
            outside = [c for c in classes if not 0 <= c < num_classes]
            if outside:
                yield Finding(entry.file, first_row + i, pair_id, f"label {outside[0]} is outside the {num_classes} classes")
            elif not self._schema.multi_label and len(classes) != 1:
                yield Finding(entry.file, first_row + i, pair_id, f"{len(classes)} labels, but the corpus is single-label")

    def _statistics(self) -> Iterator[Finding]:
        entry = self._manifest.statistics
        path = join(self._root, entry.file)
        try:
            data = read_bytes(path)
        except StorageError:
            yield Finding(entry.file, None, None, "the file is missing")
            return
        if digest_bytes(data) != entry.sha256:
            yield Finding(entry.file, None, None, "the bytes differ from the manifest's hash: the file was changed or damaged")
            return
        shape = statistics.from_bytes(data, path=entry.file)
        if shape.image_mean_I.shape != (self._schema.image_dim,) or shape.text_mean_T.shape != (self._schema.text_dim,):
            yield Finding(entry.file, None, None, f"widths {shape.image_mean_I.shape} and {shape.text_mean_T.shape} are not the corpus's")


def _read(file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table | str:
    try:
        return file.read_row_group(group, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read ({error})"


def _alignment(entry: FileEntry, pairs: FileEntry, truth_ids: Ids, pair_ids: Ids) -> Iterator[Finding]:
    if np.array_equal(truth_ids, pair_ids):
        return
    without_truth, without_pair = np.setdiff1d(pair_ids, truth_ids), np.setdiff1d(truth_ids, pair_ids)
    for pair_id in without_truth.tolist():
        yield Finding(pairs.file, int(np.flatnonzero(pair_ids == pair_id)[0]), pair_id, f"no truth for this pair in {entry.file}")
    for pair_id in without_pair.tolist():
        yield Finding(entry.file, int(np.flatnonzero(truth_ids == pair_id)[0]), pair_id, f"truth for a pair that {pairs.file} does not hold")
    if not len(without_truth) and not len(without_pair):
        shared = min(len(truth_ids), len(pair_ids))
        row = int(np.flatnonzero(truth_ids[:shared] != pair_ids[:shared])[0]) if (truth_ids[:shared] != pair_ids[:shared]).any() else shared
        yield Finding(entry.file, row, int(truth_ids[row]) if row < len(truth_ids) else None, f"misaligned with {pairs.file}: another order of pairs")
