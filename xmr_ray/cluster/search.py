"""A search on Ray Tune: every trial is a whole run. Tune starts, watches and restores trials; their records on disk decide everything else."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from xmr_ray import storage
from xmr_ray.cluster.place import TUNE_CPUS, place_trials
from xmr_ray.cluster.runner import check_run, experiment_path, open_corpus, prepared, run_experiment
from xmr_ray.cluster.score import unwrap
from xmr_ray.cluster.session import Session, open_session
from xmr_ray.cluster.trials import Sweep, run_trial_remotely, trial_run
from xmr_ray.config import Experiment, expand, nested, with_values
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import has_truth
from xmr_ray.errors import ConfigError, RunError
from xmr_ray.labels.annotators import OracleSettings
from xmr_ray.loop.run import run_rounds
from xmr_ray.runs.directory import read_json
from xmr_ray.runs.lock import exclusive
from xmr_ray.tuning.drawing import count_trials, draw
from xmr_ray.tuning.optuna_draws import require_optuna
from xmr_ray.tuning.records import TrialRecord, read_record, read_records
from xmr_ray.tuning.standing import ordered

log = logging.getLogger(__name__)
OnTrial = Callable[[TrialRecord], None]


@dataclass(frozen=True)
class SearchResult:
    """What a search found: its trials, best first, and the mAP that was to be reached (labels_to_share)."""

    sweep: Sweep
    records: tuple[TrialRecord, ...]
    target: float | None

    @property
    def best(self) -> TrialRecord:
        """The best trial."""
        return self.records[0]

    @property
    def default(self) -> TrialRecord:
        """The trial of the default configuration."""
        return next(record for record in self.records if record.index == 0)


def run_search(experiment: Experiment, *, on_trial: OnTrial) -> SearchResult:
    """Run the trials that have not ended yet. `on_trial` hears of each that ends. The test split is not opened.

    Raises:
        ConfigError: there is nothing to search, or it cannot be measured.
        RunError: the folder holds another search, or this one was interrupted.
        ResourceError: so many trials do not fit.
    """
    corpus = open_corpus(experiment)
    check_search(experiment, corpus)
    folder = experiment_path(experiment)
    with exclusive(storage.join(folder, "tune")), open_session(experiment.resources) as session:
        sweep = _begin(experiment, corpus, session, folder)
        if sweep.settings.objective == "labels_to_share":
            sweep = replace(sweep, target=sweep.settings.share * _full_line(experiment, corpus, session, folder))
        indices = range(count_trials(sweep.settings))
        if len(read_records(sweep.records, indices)) < len(indices):
            with _watched(sweep, on_trial):
                _run_trials(sweep)
        records = read_records(sweep.records, indices)
    if len(records) < len(indices):
        missing = sorted(set(indices) - {record.index for record in records})
        raise RunError(
            f"{folder}: the search was interrupted, trial {missing[0]} (and {len(missing) - 1} more) did not end; start it again. If it does not "
            "go on, remove tune/ray-* there, which holds nothing but Ray's own view of the search"
        )
    return SearchResult(sweep, tuple(ordered(records, target=sweep.target)), sweep.target)


def check_search(experiment: Experiment, corpus: PairedCorpus) -> None:
    """Raise `ConfigError` for a search that cannot be made, before anything starts; the ends of every dimension are tried on the corpus."""
    settings = experiment.tune
    if settings is None:
        raise ConfigError("tune is not set: there is nothing to search for; see configs/tune_quickstart.yaml")
    if experiment.arms:
        raise ConfigError(f"arms are {', '.join(experiment.arms)}, but a search is of one strategy; set strategy and leave arms out")
    if not isinstance(experiment.annotator, OracleSettings):
        raise ConfigError(f"annotator {experiment.annotator.kind!r} would be asked anew by every trial; a search needs annotator.kind=oracle")
    if not has_truth(corpus, "validation"):
        raise ConfigError(f"corpus {corpus.path}: no truth for split 'validation', on which trials are measured; ingest it with such a split")
    if settings.algorithm == "optuna":
        require_optuna()
    values = [{path: value} for path, dimension in settings.space.items() for value in dimension.ends()]
    for run in (trial_run(experiment, overrides) for overrides in [{}, *values]):
        if run.experiment.training.validation == "split":
            raise ConfigError("training.validation is 'split', but the search measures trials on that split; use cross_fit")
        if settings.objective == "area" and run.experiment.budget.total != experiment.budget.total:
            raise ConfigError("tune.objective 'area' cannot compare trials of different budget.total; use pareto, or search for budget.per_round")
        check_run(run, corpus)


def final_experiment(result: SearchResult) -> Experiment:
    """The best configuration and the default side by side, with every seed, to be measured on the test split once."""
    base = with_values(result.sweep.experiment, {}, where="final")
    arms = {"default": {}, **({"best": nested(result.best.overrides)} if result.best.overrides else {})}
    return base.model_copy(update={"name": "final", "storage_path": storage.join(result.sweep.folder, "tune"), "arms": arms})


def run_final(result: SearchResult) -> None:
    """Run the best configuration and the default once, with the test split as measure; a finished run is not repeated."""
    run_experiment(final_experiment(result), on_round=lambda _run, _state: None)


def best_experiment(result: SearchResult) -> Experiment:
    """The best configuration by itself, for `xmr-ray run`."""
    found = with_values(result.sweep.experiment, result.best.overrides, where="best")
    return found.model_copy(update={"name": f"{found.name}-best"})


def _begin(experiment: Experiment, corpus: PairedCorpus, session: Session, folder: str) -> Sweep:
    """The search as its folder knows it; a number of trials at once that was chosen there is kept, for results depend on it."""
    placement = place_trials(session, experiment, experiment.tune) if experiment.tune else None
    assert placement is not None
    path = storage.join(folder, "tune", "search.json")
    shown = experiment.tune.model_dump(mode="json", exclude={"cpus_per_trial", "max_concurrent"}) if experiment.tune else None
    content = [shown, trial_run(experiment, {}).fingerprint(corpus.fingerprint)]
    mark = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    found = read_json(path)
    if found is None:
        found = {"fingerprint": mark, "window": placement.count}
        storage.write_whole(path, json.dumps(found).encode())
    if found["fingerprint"] != mark:
        raise RunError(
            f"{path}: another search, configuration or corpus was begun here; give the experiment another name, "
            f"or remove {storage.join(folder, 'tune')} (runs of trials lie beside it and are used again)"
        )
    log.info("step=search trials=%d window=%d at_once=%d", count_trials(experiment.tune), found["window"], placement.count)  # type: ignore[arg-type]
    return Sweep(experiment, folder, int(found["window"]), placement)


def _full_line(experiment: Experiment, corpus: PairedCorpus, session: Session, folder: str) -> float:
    """Validation mAP of the default configuration with every label, trained once: one yardstick for all trials, whatever they change."""
    default = trial_run(experiment, {}).experiment
    full = expand(default.model_copy(update={"full": True}))[-1]
    with prepared(full, corpus, session, storage.join(folder, "trials")) as run:
        report = run_rounds(run).history[-1]
    return float(report["retrieval"][report["space"]]["map_mean"])


def _run_trials(sweep: Sweep) -> None:
    """Let Tune run what has no record. Restored, it gives up what it had begun and is handed that anew: it goes on in its run directory."""
    _quieten()
    folder, name = storage.join(sweep.folder, "tune"), f"ray-{sweep.placement.count}"
    trainable = tune.with_resources(partial(_watch_trial, sweep=sweep), {"cpu": TUNE_CPUS})
    if tune.Tuner.can_restore(storage.join(folder, name)):
        tuner = tune.Tuner.restore(storage.join(folder, name), trainable, resume_unfinished=False)
    else:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(num_samples=-1, search_alg=RecordedSearch(sweep), reuse_actors=True),
            run_config=tune.RunConfig(name=name, storage_path=folder, verbose=0, failure_config=tune.FailureConfig(fail_fast=True)),
        )
    found = tuner.fit()
    if found.errors and len(read_records(sweep.records, range(count_trials(sweep.settings)))) < count_trials(sweep.settings):
        raise unwrap(found.errors[-1])


def _quieten() -> None:
    """Tune writes tables for TensorBoard and tells of its own habits; neither is of use here."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its newer printer cannot be silenced
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _watch_trial(config: dict[str, Any], sweep: Sweep) -> None:
    """What Ray Tune runs for a trial: starts the run in a task of its own and reports every round that it finds in the run directory."""
    index, overrides = config["index"], config["overrides"]
    placement = sweep.placement
    options = {"num_cpus": placement.cpus - TUNE_CPUS, "num_gpus": placement.gpus or None, "scheduling_strategy": "DEFAULT"}
    running = run_trial_remotely.options(**options).remote(sweep, index, overrides)
    told, ended = 0, False
    while not ended:
        ended = bool(ray.wait([running], timeout=0.5)[0])
        for place in sweep.directory(overrides).rounds()[told:] if not ended else ():
            report = place.read_report()
            if report is not None:
                told += 1
                tune.report({"trial": index, "labels": report["num_bought"], "map": report["retrieval"][report["space"]]["map_mean"]})
    try:
        ray.get(running)
    except ray.exceptions.RayError as error:
        raise unwrap(error) from None
    record = read_record(sweep.records, index)
    assert record is not None
    for labels, height in record.curve[told:] if record.curve else ((0, 0.0),):
        tune.report({"trial": index, "labels": labels, "map": height})


class RecordedSearch(Searcher):
    """Hands Tune the trials that have no record yet, in order, each once the trials that it has to know of have ended."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(metric="map", mode="max")
        self._sweep, self._live = sweep, dict[str, int]()

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:  # noqa: ARG002 Tune's signature
        """Everything was set at the beginning."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None while it has to wait; `FINISHED` when every trial has its record, for Tune remembers that for ever."""
        sweep, live = self._sweep, set(self._live.values())
        waiting = [i for i in range(count_trials(sweep.settings)) if i not in live and read_record(sweep.records, i) is None]
        if not waiting:
            return None if live else Searcher.FINISHED
        index, known = waiting[0], max(0, waiting[0] - sweep.window + 1)
        earlier = sweep.known_to(index)
        if len(self._live) >= sweep.placement.count or len(earlier) < known:
            return None
        overrides = self._draw(index)
        if overrides in [self._draw(other) for other in live]:
            return None
        self._live[trial_id] = index
        return {"index": index, "overrides": overrides}

    def _draw(self, index: int) -> dict[str, Any]:
        sweep, content = self._sweep, self._sweep.experiment.model_dump(mode="json")
        default = {path: _at(content, path) for path in sweep.settings.space}
        return draw(sweep.settings, index, earlier=sweep.known_to(index), default=default, target=sweep.target)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: ARG002 Tune's signature
        """A trial has ended, and its record is written."""
        self._live.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing but the records is remembered."""
        storage.write_whole(checkpoint_path, b"{}")

    def restore(self, checkpoint_path: str) -> None:  # noqa: ARG002 Tune's signature
        """No trial is running yet: those that were will be handed out again."""
        self._live = {}


def _at(content: Any, path: str) -> Any:
    for part in path.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


@contextmanager
def _watched(sweep: Sweep, on_trial: OnTrial) -> Iterator[None]:
    """Tell of every record that appears, from a thread: Tune keeps the driver's own to itself."""
    ended, told = threading.Event(), {record.index for record in read_records(sweep.records, range(count_trials(sweep.settings)))}

    def tell() -> None:
        for index in range(count_trials(sweep.settings)):
            record = None if index in told else read_record(sweep.records, index)
            if record is not None:
                told.add(index)
                on_trial(record)

    def watch() -> None:
        while not ended.wait(1.0):
            tell()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell()
