"""From an outside dataset to a corpus on disk: its parts, how one is written, and how they are joined."""

import logging
from collections.abc import Sequence

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.parts import PARTS, Part, plan_parts, read_failures, read_reports, suggest_row_group, version_of, write_failure, write_part
from xmr_ray.corpus.raw import RawSchema
from xmr_ray.corpus.raw_corpus import RawCorpus
from xmr_ray.corpus.schema import MANIFEST_FILE, RAW_MANIFEST_FILE, CorpusSchema
from xmr_ray.corpus.sinks import PairSink, RawSink, finish_corpus, finish_raw
from xmr_ray.corpus.source import RawSource, Source
from xmr_ray.errors import CorpusError, XmrError
from xmr_ray.runs.lock import exclusive
from xmr_ray.storage import exists, join

log = logging.getLogger(__name__)
RAW_ROW_GROUP = 256  # images are large
ROWS_PER_FILE = 65536


def find_finished(source: Source | RawSource, path: str) -> PairedCorpus | RawCorpus | None:
    """The corpus of this very source if it lies finished at `path`, None if nothing finished lies there.

    Raises:
        CorpusError: a corpus of something else lies there, or a file of the finished one is missing.
    """
    raw = isinstance(source, RawSource)
    if not exists(join(path, RAW_MANIFEST_FILE if raw else MANIFEST_FILE)):
        return None
    found = RawCorpus.open(path) if raw else PairedCorpus.open(path)
    if found.schema != source.schema:
        raise CorpusError(f"{path}: a finished corpus lies here, made from something else or with other settings; remove it or choose another path")
    if isinstance(found, RawCorpus) and isinstance(source, RawSource):
        _check_place(source, found)
    log.info("corpus complete path=%s fingerprint=%s", path, found.fingerprint[:12])
    return found


def _check_place(source: RawSource, found: RawCorpus) -> None:
    """The fingerprint does not say where pictures lie, but finished raw pairs do."""
    old, new = (next(iter(place.read("train", 0, 1))).uris[0] for place in (found, source))
    if old != new:
        raise CorpusError(f"{found.path}: the raw pairs that lie here have their first picture at {old}, now it is at {new}; remove {found.path}")


def write(source: Source | RawSource, path: str, part: Part, *, row_group_rows: int | None = None) -> int:
    """Write one part, whole or not at all; returns how many pairs it left out.

    Raises:
        XmrError: what is wrong with the part; it is remembered beside the parts, too.
    """
    raw, version = isinstance(source.schema, RawSchema), version_of(source.schema)
    rows = row_group_rows or (RAW_ROW_GROUP if raw else suggest_row_group(source.num_rows.get("train", 0)))
    sink = RawSink(path, source.schema) if isinstance(source.schema, RawSchema) else PairSink(path, part, source.schema)
    try:
        batches = source.read(part.split, part.start, part.stop)
        return write_part(path, part, batches, sink=sink, version=version, row_group_rows=rows).num_rejected
    except XmrError as error:
        write_failure(path, part, error, version=version)
        raise


def unfinished(source: Source | RawSource, path: str, parts: Sequence[Part], *, retry_failed: bool = True) -> list[Part]:
    """The parts that are still to be written; with `retry_failed` also those that left pairs out, which may have been mended.

    Raises:
        CorpusError: some failed before and `retry_failed` does not hold.
    """
    version = version_of(source.schema)
    done = read_reports(path, parts, version=version)
    failed = {} if retry_failed else {name: why for name, why in read_failures(path, parts, version=version).items() if name not in done}
    if failed:
        name, why = next(iter(failed.items()))
        raise CorpusError(f"{path}: {len(failed)} parts failed before, the first is {name}: {why}; mend the source, then give --retry-failed")
    return [part for part in parts if part.name not in done or (retry_failed and done[part.name].num_rejected)]


def finish(source: Source | RawSource, path: str, parts: Sequence[Part]) -> PairedCorpus | RawCorpus:
    """Join finished parts; raises `CorpusError` if one is missing or they do not fit together."""
    done = read_reports(path, parts, version=version_of(source.schema))
    missing = [part.name for part in parts if part.name not in done]
    if missing:
        raise CorpusError(f"{path}: part {missing[0]} (and {len(missing) - 1} more) is missing; start again to write what is missing")
    reports = [done[part.name] for part in parts]
    if isinstance(source.schema, CorpusSchema):
        finish_corpus(path, source.schema, reports)
        return PairedCorpus.open(path)
    finish_raw(path, source.schema, reports)
    return RawCorpus.open(path)


def ingest(source: Source, path: str, *, rows_per_file: int = ROWS_PER_FILE, row_group_rows: int | None = None) -> PairedCorpus:
    """Write a source as a corpus, part by part in this process; does nothing if the finished corpus of this very source is already there.

    `row_group_rows` is how many pairs are read and scored together, chosen by the number of training pairs if None.

    Raises:
        RunError: another process writes there.
        CorpusError: another corpus lies at `path`, or the source holds what must not be in a corpus; then nothing opens as a corpus.
    """
    if row_group_rows is not None and row_group_rows < 1:
        raise CorpusError(f"row_group_rows={row_group_rows} must be at least 1")
    found = find_finished(source, path)
    if found is None:
        with exclusive(join(path, PARTS)) as held:
            found = find_finished(source, path)  # by whoever held it until now
            parts = plan_parts(source.num_rows, rows_per_file=rows_per_file) if found is None else ()
            for part in unfinished(source, path, parts):
                write(source, path, part, row_group_rows=row_group_rows)
            held()
            found = found or finish(source, path, parts)
    assert isinstance(found, PairedCorpus)
    return found
