"""Pool scoring: Ray Data streams descriptors through an actor pool; the actors read their own row groups and write what they make."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import ray.data
import torch

from xmr_ray.cluster import metrics
from xmr_ray.cluster.place import Placement
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.stream import RowGroupReader, prefetch
from xmr_ray.errors import XmrError
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.scoring.outputs import is_current, write_scored
from xmr_ray.scoring.scorer import PairScorer
from xmr_ray.types import Descriptor, FeatureDtype, Split, TrainedNetworks

log = logging.getLogger(__name__)
_BLOCK = 8


@dataclass(frozen=True)
class ScoringJob:
    """All that an actor needs to rebuild itself: paths and versions, never weights."""

    corpus_path: str
    split: Split
    networks: TrainedNetworks
    output: str
    batch_size: int
    dtype: FeatureDtype
    threads: int
    use_gpu: bool


class ScoringActor:
    """A cache of storage: its constructor rebuilds everything from the job; scoring a descriptor twice is harmless."""

    def __init__(self, job: ScoringJob) -> None:
        torch.set_num_threads(job.threads)
        corpus = PairedCorpus.open(job.corpus_path)
        device = torch.device("cuda" if job.use_gpu else "cpu")
        networks = RoundNetworks.load(job.networks.path, device)
        self._job, self._reader = job, RowGroupReader(corpus)
        self._descriptors = corpus.descriptors(job.split)
        self._scorer = PairScorer(networks, multi_label=corpus.schema.multi_label, batch_size=job.batch_size, device=device)

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Score the descriptors of a block; returns their indices and how many rows each had."""
        job = self._job
        wanted = [self._descriptors[int(index)] for index in block["index"]]
        done = []
        for descriptor, batch in prefetch(self._reader, wanted):
            write_scored(job.output, descriptor, self._scorer.score(batch), dtype=job.dtype, version=job.networks.digest)
            done.append((descriptor.index, len(batch)))
            metrics.rows_scored(len(batch), split=job.split, batch_size=job.batch_size)
        indices, rows = np.array(done, dtype=np.int64).reshape(-1, 2).T
        return {"index": indices, "rows": rows}


def score_split(job: ScoringJob, descriptors: Sequence[Descriptor], placement: Placement) -> int:
    """Score descriptors that these networks have not scored yet; returns the number of pairs scored now.

    Raises:
        XmrError: what an actor raised, or descriptors that were not scored.
    """
    missing = _missing(job, descriptors)
    if not missing:
        return 0
    per_block = max(1, min(_BLOCK, len(missing) // (2 * placement.count)))
    dataset = ray.data.from_items([{"index": index} for index in missing], override_num_blocks=-(-len(missing) // per_block))
    scored = dataset.map_batches(
        ScoringActor,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(placement.count, len(missing))),
        num_cpus=placement.cpus,
        num_gpus=placement.gpus or None,
    )
    done = collect(scored, num_waiting=len(missing))
    lost = sorted(set(missing) - done.keys())
    if lost:
        raise XmrError(
            f"{job.output}: {job.split} descriptor {lost[0]} (and {len(lost) - 1} more) was not scored; start again to score what is missing"
        )
    return sum(done.values())


def score_here(job: ScoringJob, descriptors: Sequence[Descriptor]) -> None:
    """As `score_split`, in this process: for splits that are scored sooner than an actor starts."""
    missing = _missing(job, descriptors)
    if missing:
        ScoringActor(job)({"index": np.array(missing)})


def _missing(job: ScoringJob, descriptors: Sequence[Descriptor]) -> list[int]:
    return [descriptor.index for descriptor in descriptors if not is_current(job.output, "scores", descriptor, version=job.networks.digest)]


def collect(scored: Any, *, num_waiting: int) -> dict[int, int]:
    """Run a dataset of (index, rows) and gather it; an error of our own inside an actor is raised as itself."""
    done: dict[int, int] = {}
    metrics.queue_depth(num_waiting, work="score")
    try:
        for row in scored.iter_rows():
            done[int(row["index"])] = int(row["rows"])
            metrics.queue_depth(max(0, num_waiting - len(done)), work="score")
    except Exception as error:
        raise unwrap(error) from error
    return done


def fetch(references: Any) -> Any:
    """The values behind one or several references; an error of our own inside a task is raised as itself."""
    try:
        return ray.get(references)
    except ray.exceptions.RayError as error:
        raise unwrap(error) from error


def unwrap(error: BaseException) -> BaseException:
    """The error of our own that Ray wrapped, else the error itself."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        if isinstance(current, XmrError):
            return current
        seen.append(current)
        current = getattr(current, "cause", None) or current.__cause__ or current.__context__
    return error
