"""Writing a corpus in parallel: Ray Data streams parts through actors, each writes its own file, and the driver joins them."""

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import ray
import ray.data
import torch

from xmr_ray import storage
from xmr_ray.cluster import metrics
from xmr_ray.cluster.place import Placement, place_writers
from xmr_ray.cluster.score import unwrap
from xmr_ray.cluster.session import open_session
from xmr_ray.cluster.shared import check_shared
from xmr_ray.config import CorpusSettings, Resources
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.parts import PARTS, Part, plan_parts, read_reports, version_of
from xmr_ray.corpus.raw_corpus import RawCorpus
from xmr_ray.corpus.source import RawSource, Source
from xmr_ray.encoders.source import EncodedRows
from xmr_ray.errors import CorpusError, XmrError
from xmr_ray.readers.ingest import find_finished, finish, unfinished, write
from xmr_ray.runs.lock import Held, exclusive
from xmr_ray.types import SPLITS

log = logging.getLogger(__name__)


class PartWriter:
    """A cache of storage: it holds the source, and writes the parts that it is given; writing one twice is harmless."""

    def __init__(self, path: str, source: Any, parts: Sequence[Part], threads: int) -> None:
        torch.set_num_threads(threads)
        self._path, self._parts = path, parts
        self._source: Source | RawSource = ray.get(source[0])

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, Any]:
        """Write the parts of a block; returns for each how many pairs it left out, or why it failed."""
        outcomes = [write_outcome(self._source, self._path, self._parts[int(index)]) for index in block["index"]]
        rejected, errors = zip(*outcomes, strict=True)
        return {"index": block["index"], "rejected": np.array(rejected, np.int64), "error": np.array(errors, dtype=object)}


def write_outcome(source: Source | RawSource, path: str, part: Part) -> tuple[int, str]:
    """Write a part; how many pairs it left out, and what is wrong with it (empty if nothing): one bad part does not stop the others."""
    try:
        return write(source, path, part), ""
    except XmrError as error:
        return 0, f"{type(error).__name__}: {error}"


def write_corpus(
    source: Source | RawSource, path: str, settings: CorpusSettings, resources: Resources, *, retry_failed: bool = False, max_rejects: int = 0
) -> PairedCorpus | RawCorpus:
    """Write a source at `path`, only what is missing there; a finished corpus of this very source is left as it is.

    Few parts are written in this process, because starting Ray costs more; else, and where only the cluster has GPUs, a session is opened.

    Raises:
        RunError: another process writes there, or took over a lease that this one could not renew.
        CorpusError: parts failed (the others are kept), more pairs than `max_rejects` could not be used, or another corpus lies there.
    """
    found = find_finished(source, path)
    if found is not None:
        return found
    with exclusive(storage.join(path, PARTS)) as held:
        found = find_finished(source, path)  # by whoever held it until now
        return found or _write_missing(source, path, settings, resources, held, retry_failed=retry_failed, max_rejects=max_rejects)


def _write_missing(
    source: Source | RawSource, path: str, settings: CorpusSettings, resources: Resources, held: Held, *, retry_failed: bool, max_rejects: int
) -> PairedCorpus | RawCorpus:
    parts = plan_parts(source.num_rows, rows_per_file=settings.rows_per_file)
    missing = unfinished(source, path, parts, retry_failed=retry_failed)
    done = read_reports(path, parts, version=version_of(source.schema))
    rejected = sum(report.num_rejected for report in done.values() if report.part not in missing)
    on_gpu = resources.use_gpu and isinstance(source.read, EncodedRows)
    if len(missing) <= len(SPLITS) and (not on_gpu or torch.cuda.is_available()):
        outcomes = ((part, *write_outcome(source, path, part)) for part in missing)
        _gather(outcomes, path, held, rejected, num_parts=len(missing), max_rejects=max_rejects)
    else:
        with open_session(resources) as session:
            check_shared(session, path)
            placement = place_writers(session, settings, num_parts=len(missing), on_gpu=on_gpu)
            # closed before the session is: what still runs behind it would start a Ray of its own
            with closing(write_parts(source, path, missing, placement)) as written:
                _gather(written, path, held, rejected, num_parts=len(missing), max_rejects=max_rejects)
    held()
    return finish(source, path, parts)


def write_parts(source: Source | RawSource, path: str, parts: Sequence[Part], placement: Placement) -> Generator[tuple[Part, int, str]]:
    """Write parts with actors, as `write_outcome` does; outcomes come as parts are finished."""
    dataset = ray.data.from_items([{"index": index} for index in range(len(parts))], override_num_blocks=len(parts))
    written = dataset.map_batches(
        PartWriter,
        fn_constructor_args=(path, [ray.put(source)], tuple(parts), placement.threads),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(placement.count, len(parts))),
        num_cpus=placement.cpus,
        num_gpus=placement.gpus or None,
    )
    try:
        for row in written.iter_rows():
            yield parts[int(row["index"])], int(row["rejected"]), str(row["error"])
    except Exception as error:
        raise unwrap(error) from error


def _gather(outcomes: Iterator[tuple[Part, int, str]], path: str, held: Held, rejected: int, *, num_parts: int, max_rejects: int) -> None:
    failed: dict[str, str] = {}
    _check_rejects(path, rejected, max_rejects)
    metrics.queue_depth(num_parts, work="write")
    for number, (part, left_out, error) in enumerate(outcomes, start=1):
        held()
        rejected += left_out
        metrics.rejects(left_out, corpus=path)
        metrics.queue_depth(num_parts - number, work="write")
        if error:
            failed[part.name] = error
        log.info("step=write path=%s parts=%d of=%d failed=%d rejected=%d", path, number, num_parts, len(failed), rejected)
        _check_rejects(path, rejected, max_rejects)
    if failed:
        name, why = min(failed.items())
        raise CorpusError(f"{path}: {len(failed)} of {num_parts} parts failed, the first is {name}: {why}; the other parts are kept")


def _check_rejects(path: str, rejected: int, max_rejects: int) -> None:
    if rejected > max_rejects:
        raise CorpusError(
            f"{path}: {rejected} pairs could not be used, max_rejects is {max_rejects}; {path}/rejects/ says which and why; "
            "mend them and give --retry-failed, or raise max_rejects and start again: what is written is kept"
        )
