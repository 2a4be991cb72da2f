"""One fit a round under Ray Train: both stages in one worker group, or in this process in Train's local mode."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray.data
import ray.train
import torch
from ray.train import Checkpoint, CheckpointUploadMode, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from xmr_ray import seals, storage
from xmr_ray.cluster.place import Placement
from xmr_ray.cluster.score import unwrap
from xmr_ray.cluster.session import kept_signals
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.stream import RowGroupReader
from xmr_ray.errors import CheckpointError
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.runs.directory import RoundDirectory
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.round import TrainingConfig, fit_round
from xmr_ray.training.rows import ResidentRows, StreamedRows
from xmr_ray.types import Descriptor, LabelSet

log = logging.getLogger(__name__)
SHARD = "train"
RUN_NAME = "fit"


@dataclass(frozen=True)
class TrainJob:
    """All that a worker needs; features are read by the worker, only bought labels travel.

    With `heads` the Gaussian heads are fitted, too; `previous` is the file of the round before's networks, for a warm start.
    """

    corpus: PairedCorpus
    place: RoundDirectory
    config: TrainingConfig
    bought: LabelSet
    validation: LabelSet | None
    seed: int
    threads: int
    use_gpu: bool
    streamed: bool
    max_failures: int
    heads: bool = False
    previous: str | None = None


class FileCheckpoints:
    """The state of an unfinished fit, written whole by rank 0 into the run directory and registered with Ray Train."""

    def __init__(self, folder: str, ranks: Ranks) -> None:
        self._folder, self._ranks = storage.join(folder, RUN_NAME, "state"), ranks
        self._path = storage.join(self._folder, "state.pt")

    def latest(self) -> dict[str, Any] | None:
        """The last saved state, None at the start of a fit."""
        if not storage.exists(self._path):
            return None
        try:
            seal, _, data = storage.read_bytes(self._path).partition(b"\n")
            if seal != storage.digest_bytes(data).encode():  # torch does not look at the checksums of its own format
                raise ValueError("damaged, its content is not what was written")
            state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        except Exception as error:
            raise CheckpointError(f"{self._path}: cannot be loaded ({error}); remove the file to start this fit again") from error
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Save a state; every rank calls this, as a barrier."""
        checkpoint = None
        if self._ranks.rank == 0:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            storage.write_whole(self._path, storage.digest_bytes(buffer.getvalue()).encode() + b"\n" + buffer.getvalue())
            filesystem, inner = storage.resolve(self._folder)
            checkpoint = Checkpoint(path=inner, filesystem=filesystem)
        ray.train.report({"saved": 1.0}, checkpoint=checkpoint, checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD)


def fit_in_worker(job: TrainJob) -> None:
    """What every Train worker runs; rank 0 leaves the numbers and then the networks in the round's folder."""
    torch.set_num_threads(job.threads)
    ranks = Ranks.current()
    device = ray.train.torch.get_device() if job.use_gpu else torch.device("cpu")
    rows = streamed_rows(job, ranks) if job.streamed else ResidentRows(job.corpus, ranks=ranks, seed=job.seed)
    fit = fit_round(
        job.config,
        corpus=job.corpus,
        bought=job.bought,
        rows=rows,
        ranks=ranks,
        device=device,
        seed=job.seed,
        round_index=job.place.index,
        validation=job.validation,
        checkpoints=FileCheckpoints(job.place.checkpoints, ranks),
        on_epoch=_log_epoch if ranks.rank == 0 else _ignore_epoch,
        previous=None if job.previous is None else RoundNetworks.load(job.previous, device),
        heads=job.heads,
    )
    if ranks.rank == 0:
        numbers = {**fit.summary, "workers": ranks.world, "threads": job.threads, "streamed": job.streamed}
        storage.write_whole(job.place.training, seals.seal_json(numbers))
        job.place.write_networks(fit.networks.to_bytes())


def streamed_rows(job: TrainJob, ranks: Ranks) -> StreamedRows:
    """This rank's rows, streamed: the Ray Data shard hands out descriptors, the worker reads their row groups."""
    shard = ray.train.get_dataset_shard(SHARD)
    descriptors = job.corpus.descriptors("train")

    def epoch_descriptors(epoch: int) -> Iterator[Descriptor]:  # noqa: ARG001 every pass over the shard is one epoch
        return (descriptors[index] for index in (int(row["index"]) for row in shard.iter_rows()) if index >= 0)

    return StreamedRows(epoch_descriptors, RowGroupReader(job.corpus).read, ranks=ranks, seed=job.seed)


def train_round(job: TrainJob, placement: Placement) -> None:
    """Run one fit to its end, through `max_failures` restarts of the worker group.

    Raises:
        XmrError: what a worker raised.
    """
    storage.make_folder(job.place.checkpoints)
    filesystem, inner = storage.resolve(job.place.checkpoints)
    trainer = TorchTrainer(
        fit_in_worker,
        train_loop_config=job,
        scaling_config=_scaling(job, placement),
        run_config=RunConfig(
            name=RUN_NAME,
            storage_path=inner,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=job.max_failures, controller_failure_limit=job.max_failures),
        ),
        torch_config=TorchConfig(backend="nccl" if placement.gpus and placement.count else "gloo"),
        datasets={SHARD: descriptor_dataset(len(job.corpus.descriptors("train")), max(placement.count, 1))} if job.streamed else None,
    )
    try:
        with kept_signals(), _quiet():
            trainer.fit()
    except SystemExit as ended:  # what Ray makes of Ctrl-C while workers train: it would end the driver with 0 or 1
        raise KeyboardInterrupt from ended
    except ray.train.TrainingFailedError as error:
        raise next(map(unwrap, getattr(error, "worker_failures", {}).values()), error) from error


def descriptor_dataset(num_descriptors: int, num_workers: int) -> Any:
    """Indices of descriptors, one a block; -1 pads them to a multiple of the workers, because Train's equal split drops what is over.

    `equal=True` is how Ray Train splits a dataset (ray 2.60, `DataConfig.configure`): of 7 rows 2 workers would see 6.
    """
    padded = [*range(num_descriptors), *[-1] * (-num_descriptors % num_workers)]
    return ray.data.from_items([{"index": index} for index in padded], override_num_blocks=len(padded))


def needs_streaming(corpus: PairedCorpus, placement: Placement, *, resident_mb: int) -> bool:
    """Whether one worker's share of features, as float32, is beyond the configured memory."""
    row_bytes = 4 * (corpus.schema.image_dim + corpus.schema.text_dim)
    return corpus.num_pairs("train") * row_bytes / max(placement.count, 1) > resident_mb * 1_000_000


def _scaling(job: TrainJob, placement: Placement) -> ScalingConfig:
    if placement.count == 0:
        log.info("step=train mode=local threads=%d reason='own session, one process is enough'", placement.threads)
        return ScalingConfig(num_workers=0, use_gpu=job.use_gpu)
    resources = {"CPU": placement.cpus} | ({"GPU": placement.gpus} if placement.gpus else {})
    return ScalingConfig(num_workers=placement.count, use_gpu=job.use_gpu, resources_per_worker=resources)


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("ray.train", "ray.data")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _log_epoch(numbers: dict[str, float]) -> None:
    log.debug("step=epoch %s", " ".join(f"{name}={value:.6g}" for name, value in numbers.items()))


def _ignore_epoch(numbers: dict[str, float]) -> None:  # noqa: ARG001 only rank 0 reports
    return
