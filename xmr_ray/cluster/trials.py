"""One trial of a search: a whole run under some overrides, measured on the validation split, in a task of its own.

It is no part of Ray Tune's process for the trial: tasks of such a process are caught in its placement group, where those of a run would wait
for ever, and Ray Train refuses to work there. Tune's process starts this task and reports what it finds in the run directory.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.data
import torch

from xmr_ray import storage
from xmr_ray.cluster.engine import RayEngine
from xmr_ray.cluster.place import PAIRS_FOR_AN_ACTOR, TrialPlacement, train_workers_of_trial
from xmr_ray.cluster.runner import check_run, open_corpus, prepared
from xmr_ray.cluster.score import score_here
from xmr_ray.cluster.session import open_session
from xmr_ray.config import ArmRun, Experiment, with_values
from xmr_ray.errors import ConfigError, StrategyError
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.state import LoopState, restore
from xmr_ray.loop.steps import Run
from xmr_ray.runs.directory import Json, RoundDirectory, RunDirectory
from xmr_ray.tuning.halving import goes_on, rungs
from xmr_ray.tuning.objective import Curve
from xmr_ray.tuning.records import Overrides, TrialRecord, digest_of, read_record, read_records, write_record
from xmr_ray.tuning.settings import TuneSettings
from xmr_ray.types import FeatureDtype, LabelSet, Selection, Split, TrainedNetworks

_FIRST_ROUND = ("selection.parquet", "labels.parquet", "networks/networks.sha256", "networks/networks.pt", "networks/training.json", "report.json")
"""What a finished first round is made of; its report comes last, since it says that the rest is there."""


@dataclass(frozen=True)
class Sweep:
    """What all trials of a search share: the default configuration, where it lies, and by how many trials each lags behind in what it knows.

    `window` trials may run at once. Trial i is drawn and judged with trials 0 to i - window, which have ended before it begins, whatever the
    timing: that makes a search with several trials at once repeatable.
    """

    experiment: Experiment
    folder: str
    window: int
    placement: TrialPlacement
    target: float | None = None

    @property
    def settings(self) -> TuneSettings:
        """The search that the configuration asks for."""
        assert self.experiment.tune is not None
        return self.experiment.tune

    @property
    def records(self) -> str:
        """Folder of the trials' records."""
        return storage.join(self.folder, "tune", "trials")

    def known_to(self, index: int) -> list[TrialRecord]:
        """The trials that trial `index` knows of."""
        return read_records(self.records, range(max(0, index - self.window + 1)))

    def directory(self, overrides: Overrides) -> RunDirectory:
        """Run directory of a trial; equal trials share it."""
        run = trial_run(self.experiment, overrides)
        return RunDirectory(storage.join(self.folder, "trials", digest_of(overrides), run.run_id))


def trial_run(experiment: Experiment, overrides: Overrides) -> ArmRun:
    """The run of a trial: the configuration's own strategy and first seed, measured on the validation split.

    It trains in its own process, unless `training.num_workers` asks for several workers: then each of its fits starts a worker group.

    Raises:
        ConfigError: the configuration refuses the overrides.
    """
    changed = with_values(experiment, overrides, where=f"trial {json.dumps(dict(overrides))}")
    evaluation = changed.evaluation.model_copy(update={"split": "validation"})
    training = changed.training.model_copy(update={"num_workers": train_workers_of_trial(changed)})
    config = changed.model_copy(update={"evaluation": evaluation, "training": training, "full": False})
    return ArmRun(arm=config.strategy.kind, seed=experiment.seeds[0], experiment=config)


class StoppedError(Exception):
    """Ends a run between two rounds."""


class _TrialEngine(RayEngine):
    """As the engine of any run, with the same results, but a small split is scored in the trial's own process, and purchases are not described.

    Trials run beside each other already; to start an actor takes longer than to score as many pairs as `auto` gives it at least.
    """

    def _score(self, place: RoundDirectory, networks: TrainedNetworks, *, split: Split, dtype: FeatureDtype) -> None:
        if self.corpus.num_pairs(split) > PAIRS_FOR_AN_ACTOR:
            super()._score(place, networks, split=split, dtype=dtype)
            return
        score_here(self._scoring_job(place, networks, split=split, dtype=dtype, threads=1), self.corpus.descriptors(split))

    def describe_purchase(self, scored: RoundDirectory, place: RoundDirectory, *, selection: Selection, bought: LabelSet, seed: int) -> None:
        """Not done: no page shows the purchases of a trial."""


@dataclass
class Judge:
    """Follows a trial's rounds and ends it at a rung where it is not among the best."""

    settings: TuneSettings
    rungs: Sequence[int]
    earlier: Sequence[Curve]
    curve: list[tuple[int, float]]

    def round_finished(self, report: Json) -> None:
        """Take a round in; raises `StoppedError` where the trial ends."""
        self.curve.append((int(report["num_bought"]), float(report["retrieval"][report["space"]]["map_mean"])))
        if len(self.curve) in self.rungs and not goes_on(self.curve, self.earlier, reduction_factor=self.settings.reduction_factor):
            raise StoppedError


def run_trial(sweep: Sweep, index: int, overrides: Overrides) -> None:
    """Run a trial from wherever its run directory stands to its end, and leave its record."""
    if read_record(sweep.records, index) is not None:
        return
    started = time.monotonic()
    try:
        status, curve = _run_to_the_end(sweep, index, overrides)
    except (ConfigError, StrategyError) as error:
        write_record(sweep.records, TrialRecord(index, overrides, "refused", why=str(error)))
        return
    write_record(sweep.records, TrialRecord(index, overrides, status, curve, seconds=round(time.monotonic() - started, 3)))


def _run_to_the_end(sweep: Sweep, index: int, overrides: Overrides) -> tuple[Any, tuple[tuple[int, float], ...]]:
    arm_run, settings = trial_run(sweep.experiment, overrides), sweep.settings
    corpus = open_corpus(arm_run.experiment)
    check_run(arm_run, corpus)
    num_rounds = len(arm_run.purchases(corpus.num_pairs("train")))
    levels = rungs(num_rounds, grace_rounds=settings.grace_rounds, reduction_factor=settings.reduction_factor)
    judge = Judge(settings, levels if settings.scheduler == "asha" else (), [record.curve for record in sweep.known_to(index)], [])
    folder = storage.join(sweep.folder, "trials", digest_of(overrides))
    with open_session(arm_run.experiment.resources) as found:
        session = replace(found, cpus=sweep.placement.share)
        ray.data.DataContext.get_current().execution_options.resource_limits = ray.data.ExecutionResources(cpu=session.cpus)
        with prepared(arm_run, corpus, session, folder) as plain:
            engine = _TrialEngine(session, corpus, arm_run.experiment, plain.directory)
            run = replace(plain, engine=engine)
            key = first_round_key(arm_run, corpus.fingerprint, run.purchases[0], heads=engine.has_heads)
            shared = storage.join(sweep.folder, "trials", f"first-{key}")
            copy_round(shared, run.directory.round(0).path)
            try:
                for report in restore(run.directory).history:
                    judge.round_finished(report)
                run_rounds(run, lambda state: _round_finished(state, judge, run, shared))
            except StoppedError:
                return "stopped", tuple(judge.curve)
    return "finished", tuple(judge.curve)


def _round_finished(state: LoopState, judge: Judge, run: Run, shared: str) -> None:
    if len(state.history) == 1:
        copy_round(run.directory.round(0).path, shared)
    judge.round_finished(state.history[-1])


def first_round_key(arm_run: ArmRun, corpus_fingerprint: str, num_pairs: int, *, heads: bool) -> str:
    """Hash of all that the first round depends on; how later purchases are chosen is not in it."""
    shown = arm_run.experiment.model_dump(mode="json", include={"annotator", "seed_strategy", "training", "evaluation"})
    content = [shown, num_pairs, arm_run.seed, heads, corpus_fingerprint]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def copy_round(source: str, target: str) -> None:
    """Copy a finished first round, unless there is none or the target is finished."""
    if not storage.exists(storage.join(source, "report.json")) or storage.exists(storage.join(target, "report.json")):
        return
    for name in _FIRST_ROUND:
        if storage.exists(storage.join(source, name)):
            storage.write_whole(storage.join(target, name), storage.read_bytes(storage.join(source, name)))


@ray.remote
def run_trial_remotely(sweep: Sweep, index: int, overrides: Overrides) -> None:
    """As `run_trial`, with one thread; a process that dies is started again by Ray, and the run goes on."""
    torch.set_num_threads(1)
    run_trial(sweep, index, overrides)
