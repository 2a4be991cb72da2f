"""A corpus written in independent parts: each is one file, made anywhere and in any order, and the manifest joins them.

`<corpus>/parts/train-00003.json` tells of a part that is whole: its files, hashes, moments, and how many pairs were rejected; it is
written last. `parts/train-00003.failed.json` tells why a part could not be made, `rejects/train-00003.jsonl` which pairs it left out.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import pyarrow as pa
from pydantic import ValidationError

from xmr_ray.component import Settings
from xmr_ray.corpus.ids import IdSet
from xmr_ray.corpus.raw import Reject
from xmr_ray.corpus.schema import FileEntry
from xmr_ray.corpus.shards import ShardWriter
from xmr_ray.corpus.tables import repeated_id
from xmr_ray.errors import CorpusError, XmrError
from xmr_ray.storage import digest_bytes, join, list_names, read_bytes, read_table, remove_file, size_of, write_whole
from xmr_ray.types import SPLITS, Split

log = logging.getLogger(__name__)
PARTS, REJECTS, FAILED = "parts", "rejects", ".failed.json"
LARGEST_ROW_GROUP, SMALLEST_ROW_GROUP, WANTED_ROW_GROUPS = 4096, 128, 8
_OURS = re.compile(r"(pairs|raw|train|validation|test)-\d{5,}\.(parquet|json|failed\.json|jsonl)(\.part-[0-9a-f]+)?")


class Part(Settings):
    """Rows `start` to `stop` of a split of the source, which become file number `index` of that split."""

    split: Split
    index: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The stem of everything that tells of this part."""
        return f"{self.split}-{self.index:05d}"


class PartReport(Settings):
    """A part that is whole. `files` are its files by their kind, without those that would be empty; `version` says what it was made from."""

    part: Part
    version: str
    files: Mapping[str, FileEntry]
    num_rows: int
    num_rejected: int
    lowest_id: int
    highest_id: int
    seconds: float
    numbers: Mapping[str, Any]


class Sink(Protocol):
    """What becomes of the records of one part."""

    @property
    def files(self) -> Mapping[str, tuple[str, pa.Schema]]:
        """Kind of file -> its path below the corpus, in terms of `split` and `index`, and its schema; the first kind holds the pairs."""

    def tables(self, split: Split, records: Any, *, row: int) -> Mapping[str, pa.Table]:
        """The tables of a batch by kind of file; raises `CorpusError` on what must not be in a corpus."""

    def on_row_group(self, table: pa.Table) -> None:
        """A row group of pairs as it is written."""

    def numbers(self) -> Mapping[str, Any]:
        """What is to be kept of all row groups, as JSON."""


def plan_parts(num_rows: Mapping[Split, int], *, rows_per_file: int) -> tuple[Part, ...]:
    """The rows of every split cut into files of `rows_per_file` rows, the last one of a split shorter.

    >>> [(part.name, part.start, part.stop) for part in plan_parts({"train": 5, "test": 2}, rows_per_file=3)]
    [('train-00000', 0, 3), ('train-00001', 3, 5), ('test-00000', 0, 2)]
    """
    if rows_per_file < 1:
        raise CorpusError(f"rows_per_file={rows_per_file} must be at least 1")
    return tuple(
        Part(split=split, index=index, start=start, stop=min(start + rows_per_file, num_rows[split]))
        for split in SPLITS
        for index, start in enumerate(range(0, num_rows.get(split, 0), rows_per_file))
    )


def suggest_row_group(num_rows: int) -> int:
    """The largest power of two between 128 and 4,096 that cuts `num_rows` into at least 8 row groups.

    >>> suggest_row_group(2465), suggest_row_group(100_000), suggest_row_group(10)
    (256, 4096, 128)
    """
    size = LARGEST_ROW_GROUP
    while size > SMALLEST_ROW_GROUP and -(-num_rows // size) < WANTED_ROW_GROUPS:
        size //= 2
    return size


def write_part(root: str, part: Part, batches: Iterable[Any], *, sink: Sink, version: str, row_group_rows: int) -> PartReport:
    """Write one part whole from batches of records and rejects. An interrupted part leaves nothing that is taken for whole.

    Raises:
        CorpusError: a batch holds what must not be in a corpus, or ids that are repeated within the part.
    """
    started, row, ids, rejects = time.monotonic(), 0, IdSet(), list[Reject]()
    remove_file(_report_path(root, part))  # of another source: it must not vouch for what is written now
    writers = _writers(root, part, sink, row_group_rows)
    bounds: list[int] = []
    try:
        for records in _cut(batches, row_group_rows, rejects):
            for kind, table in sink.tables(part.split, records, row=part.start + row).items():
                writers[kind].append(table)
            repeated = ids.add(records.pair_ids)
            if repeated is not None:
                raise repeated_id(root, part.split, records.pair_ids, repeated, row=part.start + row)
            bounds = [min([*bounds[:1], int(records.pair_ids.min())]), max([*bounds[1:], int(records.pair_ids.max())])]
            row += len(records)
        files = {kind: entries[0] for kind, writer in writers.items() if (entries := writer.close())}
    except BaseException:
        for writer in writers.values():
            writer.abort()
        raise
    write_rejects(root, part, rejects)
    report = PartReport(
        part=part,
        version=version,
        files=files,
        num_rows=row,
        num_rejected=len(rejects),
        lowest_id=bounds[0] if bounds else 0,
        highest_id=bounds[1] if bounds else -1,
        seconds=round(time.monotonic() - started, 3),
        numbers=sink.numbers(),
    )
    write_whole(_report_path(root, part), report.model_dump_json().encode())
    remove_file(_failed_path(root, part))
    log.info("step=part path=%s part=%s rows=%d rejected=%d seconds=%.1f", root, part.name, row, len(rejects), report.seconds)
    return report


def write_rejects(root: str, part: Part, rejects: Sequence[Reject]) -> None:
    """Write the pairs that a part leaves out as JSON lines; no file if there is none."""
    path = join(root, REJECTS, f"{part.name}.jsonl")
    if rejects:
        write_whole(path, "".join(json.dumps(asdict(reject)) + "\n" for reject in rejects).encode())
    else:
        remove_file(path)


def write_failure(root: str, part: Part, error: XmrError, *, version: str) -> None:
    """Remember why a part could not be made."""
    content = {"part": part.name, "version": version, "error": type(error).__name__, "message": str(error)}
    write_whole(_failed_path(root, part), json.dumps(content).encode())


def read_failures(root: str, parts: Sequence[Part], *, version: str) -> dict[str, str]:
    """Name of a part that could not be made from this very source -> why."""
    present = set(list_names(join(root, PARTS)))
    found = [json.loads(read_bytes(_failed_path(root, part))) for part in parts if f"{part.name}{FAILED}" in present]
    return {content["part"]: content["message"] for content in found if content["version"] == version}


def read_reports(root: str, parts: Sequence[Part], *, version: str) -> dict[str, PartReport]:
    """Reports of the parts that are whole, were made from this very source and have all their files, by name."""
    present = set(list_names(join(root, PARTS)))
    found = (_read_report(root, part) for part in parts if f"{part.name}.json" in present)
    planned = {part.name: part for part in parts}
    same = (report for report in found if report and report.version == version and report.part == planned[report.part.name])
    return {report.part.name: report for report in same if all(size_of(join(root, entry.file)) == entry.bytes for entry in report.files.values())}


def check_ids(root: str, reports: Sequence[PartReport], *, pairs_kind: str) -> None:
    """Raises `CorpusError` naming an id that is in two parts; only parts whose ranges of ids overlap are read."""
    filled = [report for report in reports if report.num_rows]
    seen = IdSet()
    for report in filled:
        if not any(_overlap(report, other) for other in filled if other is not report):
            continue
        ids = read_table(join(root, report.files[pairs_kind].file), ["pair_id"])["pair_id"].to_numpy()
        repeated = seen.add(ids)
        if repeated is not None:
            raise repeated_id(root, report.part.split, ids, repeated, row=report.part.start)


def remove_strangers(root: str, folders: Iterable[str], kept: Iterable[str]) -> None:
    """Remove files of parts below `folders` that are not among `kept`: what an earlier plan left behind. Files of other names stay."""
    wanted = set(kept)
    for folder in folders:
        for name in list_names(join(root, folder), unfinished=True):
            if _OURS.fullmatch(name) and f"{folder}/{name}" not in wanted:
                remove_file(join(root, folder, name))


def version_of(schema: Settings) -> str:
    """What tells parts of one source from those of another: the schema with its reader's fingerprint."""
    return digest_bytes(schema.model_dump_json().encode())


def _overlap(one: PartReport, other: PartReport) -> bool:
    return one.lowest_id <= other.highest_id and other.lowest_id <= one.highest_id


def _cut(batches: Iterable[Any], rows: int, rejects: list[Reject]) -> Iterator[Any]:
    """Batches of at most `rows` rows; rejects on the way are put aside."""
    for records in batches:
        if isinstance(records, Reject):
            rejects.append(records)
            continue
        for start in range(0, len(records), rows):
            yield records.slice(start, start + rows)


def _writers(root: str, part: Part, sink: Sink, row_group_rows: int) -> dict[str, ShardWriter]:
    whole = 1 << 62  # a part is one file, whatever its rows
    hooks: dict[str, Callable[[pa.Table], None]] = {next(iter(sink.files)): sink.on_row_group}
    return {
        kind: ShardWriter(
            root,
            pattern.format(split=part.split, index=part.index),
            schema,
            rows_per_file=whole,
            row_group_rows=row_group_rows,
            on_row_group=hooks.get(kind),
        )
        for kind, (pattern, schema) in sink.files.items()
    }


def _read_report(root: str, part: Part) -> PartReport | None:
    try:
        return PartReport.model_validate_json(read_bytes(_report_path(root, part)))
    except ValidationError:  # of another version of this format: the part is made again
        return None


def _report_path(root: str, part: Part) -> str:
    return join(root, PARTS, f"{part.name}.json")


def _failed_path(root: str, part: Part) -> str:
    return join(root, PARTS, f"{part.name}{FAILED}")
