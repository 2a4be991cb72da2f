"""Experiments and single steps on Ray: opens the session, locks the run, builds the engine, and lets the loop work."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from xmr_ray import storage
from xmr_ray.cluster.annotators import annotator_of
from xmr_ray.cluster.engine import RayEngine
from xmr_ray.cluster.metrics import RunWatch
from xmr_ray.cluster.session import Session, open_session
from xmr_ray.cluster.shared import check_shared
from xmr_ray.config import FULL, ArmRun, Experiment, expand, to_yaml
from xmr_ray.corpus.open import EMBEDDED, PairedCorpus
from xmr_ray.corpus.schema import MANIFEST_FILE
from xmr_ray.corpus.truth import has_truth
from xmr_ray.errors import ConfigError, RunError
from xmr_ray.labels.annotators import OracleSettings
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.sharing import Others
from xmr_ray.loop.state import LoopState, networks_of, restore
from xmr_ray.loop.steps import Run, labels_for
from xmr_ray.runs.directory import RoundDirectory, RunDirectory
from xmr_ray.runs.lock import exclusive
from xmr_ray.types import RetrievalReport, Split

OnRound = Callable[[ArmRun, LoopState], None]
OnStep = Callable[[ArmRun, int, str], None]


def _say_nothing(_arm_run: ArmRun, _round: int, _step: str) -> None:
    """What an experiment tells that nobody watches."""


def experiment_path(experiment: Experiment) -> str:
    """Folder of an experiment.

    Raises:
        ConfigError: a relative `storage_path` inside a submitted job, whose working directory is temporary.
    """
    path = experiment.storage_path
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and "://" not in path and not os.path.isabs(path):
        raise ConfigError(f"storage_path is {path!r}, but a submitted job's working directory is temporary; give an absolute local or NFS path")
    return storage.join(storage.absolute(path), experiment.name)


def run_experiment(
    experiment: Experiment,
    *,
    on_round: OnRound,
    on_step: OnStep = _say_nothing,
    accept_change: bool = False,
    restore_receipts: bool = False,
) -> Mapping[str, LoopState]:
    """Run every arm with every seed to its end, one after the other; finished work is not done again. Returns states by run id.

    `on_round` hears of every finished round, `on_step` of every step that is begun.
    """
    corpus = open_corpus(experiment)
    runs = expand(experiment)
    for arm_run in runs:
        check_run(arm_run, corpus)
    folder = experiment_path(experiment)
    states = {}
    with _session_for(experiment, corpus, folder) as session:
        for arm_run in runs:
            watch = RunWatch(f"{experiment.name}/{arm_run.run_id}", arm_run.arm, on_round=partial(on_round, arm_run), on_step=on_step)
            with prepared(arm_run, corpus, session, folder, beside=runs, accept_change=accept_change, on_step=watch.step) as run:
                states[arm_run.run_id] = run_rounds(run, watch.round_finished, restore_receipts=restore_receipts)
    return states


@contextmanager
def prepared(
    arm_run: ArmRun,
    corpus: PairedCorpus,
    session: Session,
    folder: str,
    *,
    beside: Sequence[ArmRun] = (),
    accept_change: bool = False,
    on_step: OnStep = _say_nothing,
) -> Iterator[Run]:
    """A run that is locked, checked against its configuration, and ready for the loop; `beside` are the experiment's runs, which share people."""
    config = arm_run.experiment
    directory = RunDirectory(storage.join(folder, arm_run.run_id))
    with exclusive(directory.path) as held:
        directory.begin(to_yaml(config), arm_run.fingerprint(corpus.fingerprint), accept_change=accept_change)
        looks_at_validation = config.training.validation == "split" or config.evaluation.split == "validation"

        def begin_step(index: int, step: str) -> None:
            held()
            on_step(arm_run, index, step)

        yield Run(
            directory=directory,
            engine=RayEngine(session, corpus, config, directory),
            strategy=config.strategy,
            seed_strategy=config.seed_strategy,
            annotator=annotator_of(
                config, corpus, directory, campaign=campaign_of(arm_run, corpus), others=others_of(arm_run, beside, corpus, folder)
            ),
            purchases=arm_run.purchases(corpus.num_pairs("train")),
            arm=arm_run.arm,
            seed=arm_run.seed,
            space=config.evaluation.space,
            num_validation_labels=corpus.num_pairs("validation") if looks_at_validation else 0,
            keep_rounds=config.keep_rounds,
            held_out=None if has_truth(corpus, config.evaluation.split) else config.evaluation.held_out,
            on_step=begin_step,
            held=held,
        )


def train_last(experiment: Experiment, *, arm: str | None, seed: int | None) -> RoundDirectory:
    """Train the networks of the last closed purchase, unless they are there."""
    with _opened(experiment, arm=arm, seed=seed) as (run, state):
        place = _last(run, state)
        if networks_of(place) is None:
            run.engine.train(place, bought=labels_for(run, state)[0], seed=run.seed)
        return place


def score_last(experiment: Experiment, *, arm: str | None, seed: int | None) -> RoundDirectory:
    """Score the whole pool with the newest networks; the files lie in the round's folder."""
    with _opened(experiment, arm=arm, seed=seed) as (run, state):
        place = _newest(run, state)
        networks = networks_of(place)
        assert networks is not None
        run.engine.score_pool(place, networks)
        return place


def evaluate_last(experiment: Experiment, *, arm: str | None, seed: int | None) -> tuple[RoundDirectory, Mapping[str, RetrievalReport]]:
    """Retrieval with the newest networks: on the split that measures, or where it has no truth, among the bought pairs held out."""
    with _opened(experiment, arm=arm, seed=seed) as (run, state):
        place = _newest(run, state)
        networks = networks_of(place)
        assert networks is not None
        return place, run.engine.evaluate(place, networks, held_out=labels_for(run, state)[1])


def pick(experiment: Experiment, *, arm: str | None, seed: int | None) -> ArmRun:
    """The one run that is meant; raises `ConfigError` with the choices when there are several or none."""
    runs = expand(experiment)
    found = [run for run in runs if (arm is None or run.arm == arm) and (seed is None or run.seed == seed)]
    if len(found) != 1:
        names = ", ".join(run.run_id for run in runs)
        raise ConfigError(f"arm={arm} seed={seed} means {len(found)} runs; choose one of {names} with --arm and --seed")
    return found[0]


@contextmanager
def _opened(experiment: Experiment, *, arm: str | None, seed: int | None) -> Iterator[tuple[Run, LoopState]]:
    arm_run = pick(experiment, arm=arm, seed=seed)
    corpus = open_corpus(experiment)
    check_run(arm_run, corpus)
    folder = experiment_path(experiment)
    with _session_for(experiment, corpus, folder) as session, prepared(arm_run, corpus, session, folder) as run:
        yield run, restore(run.directory)


@contextmanager
def _session_for(experiment: Experiment, corpus: PairedCorpus, folder: str) -> Iterator[Session]:
    """A session whose nodes all see the runs and the corpus; the embedded corpus comes with the package."""
    with open_session(experiment.resources) as session:
        check_shared(session, folder, also=() if experiment.corpus.path == EMBEDDED else (storage.join(corpus.path, MANIFEST_FILE),))
        yield session


def open_corpus(experiment: Experiment) -> PairedCorpus:
    """The corpus under a path that workers in another working directory understand."""
    path = experiment.corpus.path
    return PairedCorpus.open(path if path == EMBEDDED else storage.absolute(path))


def campaign_of(arm_run: ArmRun, corpus: PairedCorpus) -> str:
    """What people's side of a run is known by, where labels come from a server: another corpus under the same name is another campaign."""
    return f"{arm_run.experiment.name} {arm_run.run_id} {corpus.fingerprint[:8]}"


def others_of(arm_run: ArmRun, runs: Sequence[ArmRun], corpus: PairedCorpus, folder: str) -> Others:
    """Those of an experiment's runs that ask the same people as this one about the same corpus, as far as they have begun."""
    asks = arm_run.experiment.annotator

    def asking(some: Sequence[ArmRun]) -> tuple[RunDirectory, ...]:
        begun = [(run, directory) for run in some if storage.exists((directory := RunDirectory(storage.join(folder, run.run_id))).config)]
        # a run that was begun with another corpus means other pairs by the same ids
        return tuple(
            directory
            for run, directory in begun
            if run.experiment.annotator == asks and directory.fingerprint() == run.fingerprint(corpus.fingerprint)
        )

    if isinstance(asks, OracleSettings):
        return Others()
    at = next((index for index, run in enumerate(runs) if run.run_id == arm_run.run_id), len(runs))
    return Others(asking(runs[:at]), asking(runs[at + 1 :]))


def check_run(arm_run: ArmRun, corpus: PairedCorpus) -> None:
    """Raise `ConfigError` for a budget beyond the corpus, for truth that is needed and missing, or for a question that cannot be asked."""
    arm_run.purchases(corpus.num_pairs("train"))
    config, needed = arm_run.experiment, dict[Split, str]()
    if isinstance(config.annotator, OracleSettings):
        needed["train"] = "annotator 'oracle' needs it; let people answer with annotator.kind=files"
    elif arm_run.arm == FULL:
        raise ConfigError(f"full is set, but annotator {config.annotator.kind!r} would ask people for every pair; leave full out")
    elif not corpus.schema.class_names:
        raise ConfigError(f"corpus {corpus.path}: it names no classes, so there is nothing to ask people; ingest it with class names")
    if config.training.validation == "split":
        needed["validation"] = "training.validation 'split' needs it; use cross_fit"
    if config.evaluation.split == "validation":
        needed["validation"] = "evaluation.split 'validation' needs it; ingest the corpus with a labelled validation split"
    for split, why in needed.items():
        if not has_truth(corpus, split):
            raise ConfigError(f"corpus {corpus.path}: no truth for split {split!r}; {why}")


def _last(run: Run, state: LoopState) -> RoundDirectory:
    if not state.ledger.sizes:
        raise RunError(f"{run.directory.path}: nothing was bought yet; start with `xmr-ray run`")
    return run.directory.round(len(state.ledger.sizes) - 1)


def _newest(run: Run, state: LoopState) -> RoundDirectory:
    for index in range(len(state.ledger.sizes) - 1, -1, -1):
        place = run.directory.round(index)
        if networks_of(place) is not None:
            return place
    raise RunError(f"{run.directory.path}: no networks yet; start with `xmr-ray train` or `xmr-ray run`")
