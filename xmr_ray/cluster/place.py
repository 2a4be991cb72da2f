"""How many actors and workers a session carries: what `auto` means, in numbers."""

from dataclasses import dataclass

from xmr_ray.cluster.reservations import SPARE_CPUS, Reservation, check_reservations
from xmr_ray.cluster.session import Session
from xmr_ray.config import CorpusSettings, Experiment, Resources, ScoringSettings, TrainingSettings
from xmr_ray.errors import ResourceError
from xmr_ray.tuning.drawing import count_trials
from xmr_ray.tuning.settings import TuneSettings

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


@dataclass(frozen=True)
class TrialPlacement:
    """How many trials run at once, what each holds itself, and the CPUs that its steps may think the cluster has."""

    count: int
    cpus: float
    gpus: float
    share: float


TUNE_CPUS = 0.01
"""Held by the process through which Ray Tune watches a trial; a part of `cpus_per_trial`."""
DRIVER_CPUS = 0.01
"""Held by a trial whose Train workers are processes of their own: it waits for them."""


def train_workers_of_trial(experiment: Experiment) -> int:
    """Train workers of each trial; 0, a trial trains in its own process, unless several are configured."""
    count = experiment.training.num_workers
    return count if isinstance(count, int) and count > 1 else 0


def place_trials(session: Session, experiment: Experiment, settings: TuneSettings) -> TrialPlacement:
    """As many trials at once as fit with the actors that each of them starts: the configured number, or up to one per CPU.

    Beside what trials hold for their whole life there must be room for the actors of all of them at once and half a CPU for the tasks
    that feed these, and never less than one CPU, which is the largest task that a trial waits for. A trial that trains with several
    workers holds next to nothing itself: its workers and its actors take turns.

    Raises:
        ResourceError: the configured number does not fit, or not even one trial does; the message has the sum.
    """
    scoring, workers = experiment.scoring, train_workers_of_trial(experiment)
    actors = 1 if scoring.num_actors == "auto" else scoring.num_actors
    index_actors = 1 if scoring.index_actors == "auto" else scoring.index_actors
    inside = max(actors * scoring.cpus_per_actor, index_actors * scoring.cpus_per_index_actor, workers * experiment.training.cpus_per_worker)
    each, within = (TUNE_CPUS + DRIVER_CPUS, "actors or Train workers") if workers else (settings.cpus_per_trial, "actors")
    gpus = 1.0 if experiment.resources.use_gpu and not workers else 0.0
    gpus_inside = max(workers, actors * scoring.gpus_per_actor) if experiment.resources.use_gpu else 0.0

    def needs(count: int) -> float:
        return count * each + max(count * inside + SPARE_CPUS, 1.0)

    most = min(max(1, int(session.cpus)), count_trials(settings))
    if experiment.resources.use_gpu:
        most = min(most, int(session.gpus / (gpus + gpus_inside)))
    fitting = max((count for count in range(1, most + 1) if needs(count) <= session.cpus + 1e-9), default=0)
    wanted = settings.max_concurrent if settings.max_concurrent != "auto" else max(fitting, 1)
    if wanted > fitting and (fitting == 0 or needs(wanted) > session.cpus + 1e-9):
        raise ResourceError(
            f"{wanted} trials x ({each:g} CPU + {inside:g} CPU of their {within}) and what feeds them = {needs(wanted):g} CPUs"
            + (f" and {wanted * (gpus + gpus_inside):g} GPUs" if experiment.resources.use_gpu else "")
            + f", but the cluster has {session.cpus:g} CPUs and {session.gpus:g} GPUs; "
            + (f"set tune.max_concurrent to {fitting} or less" if fitting else "take fewer CPUs or GPUs for each")
        )
    return TrialPlacement(wanted, each, gpus, (session.cpus - SPARE_CPUS - wanted * each) / wanted + SPARE_CPUS)
