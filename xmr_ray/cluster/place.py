"""How many actors and workers a session carries: what `auto` means, in numbers."""

from dataclasses import dataclass

from xmr_ray.cluster.reservations import SPARE_CPUS, Reservation, check_reservations
from xmr_ray.cluster.session import Session
from xmr_ray.config import CorpusSettings, Resources, ScoringSettings, TrainingSettings

PAIRS_FOR_AN_ACTOR = 4096


@dataclass(frozen=True)
class Placement:
    """Processes of one kind and what each holds."""

    count: int
    cpus: float
    gpus: float
    threads: int


def place_scoring(session: Session, scoring: ScoringSettings, resources: Resources, *, num_pairs: int) -> Placement:
    """Scoring actors: the configured number, or one per GPU, or one per CPU as far as half a CPU stays free.

    `auto` takes no more than one actor for every 4,096 pairs: starting one costs more than scoring them.

    Raises `ResourceError` if they could stall the cluster.
    """
    gpus = scoring.gpus_per_actor if resources.use_gpu else 0.0
    fitting = int((session.cpus - SPARE_CPUS + 1e-9) / scoring.cpus_per_actor)
    wanted = int(session.gpus / gpus) if gpus else int(session.cpus / scoring.threads_per_actor)
    worth_starting = -(-num_pairs // PAIRS_FOR_AN_ACTOR)
    count = max(1, min(fitting, wanted, worth_starting)) if scoring.num_actors == "auto" else scoring.num_actors
    reservation = Reservation("scoring actors", count, scoring.cpus_per_actor, gpus)
    check_reservations([reservation], cluster_cpus=session.cpus, cluster_gpus=session.gpus)
    return Placement(count, scoring.cpus_per_actor, gpus, scoring.threads_per_actor)


def place_writers(session: Session, corpus: CorpusSettings, *, num_parts: int, on_gpu: bool) -> Placement:
    """Actors that write a corpus: the configured number, or one per CPU as far as half a CPU stays free, or per GPU where encoders use them.

    Raises `ResourceError` if they could stall the cluster.
    """
    gpus = 1.0 if on_gpu else 0.0
    fitting = int((session.cpus - SPARE_CPUS + 1e-9) / corpus.cpus_per_writer)
    wanted = int(session.gpus / gpus) if gpus else int(session.cpus)
    count = max(1, min(fitting, wanted, num_parts)) if corpus.num_writers == "auto" else corpus.num_writers
    reservation = Reservation("corpus writers", count, corpus.cpus_per_writer, gpus)
    check_reservations([reservation], cluster_cpus=session.cpus, cluster_gpus=session.gpus)
    return Placement(count, corpus.cpus_per_writer, gpus, 1)


def place_training(session: Session, training: TrainingSettings, resources: Resources) -> Placement:
    """Train workers; 0 is Train's local mode, in the driver's own process.

    `auto` takes local mode when the session is our own and one process is enough (no GPU to use, or one), else a worker per GPU,
    or one. Raises `ResourceError` if they could stall the cluster.
    """
    gpus = 1.0 if resources.use_gpu else 0.0
    enough = max(1, int(session.gpus)) if gpus else 1
    automatic = 0 if session.own and enough == 1 else enough
    count = automatic if training.num_workers == "auto" else training.num_workers
    if gpus and not count:
        check_reservations([Reservation("training process", 1, 0.0, gpus)], cluster_cpus=session.cpus, cluster_gpus=session.gpus)
    if count:
        reservation = Reservation("Train workers", count, training.cpus_per_worker, gpus)
        check_reservations([reservation], cluster_cpus=session.cpus, cluster_gpus=session.gpus)
    return Placement(count, training.cpus_per_worker, gpus, training.threads_per_worker)
