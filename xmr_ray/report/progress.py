"""How far each arm and run has come, and where the time went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xmr_ray import storage
from xmr_ray.report.arms import summarise_arms
from xmr_ray.report.experiment import Experiment, Run, read_experiment
from xmr_ray.report.settings import ReportSettings
from xmr_ray.runs.directory import RunDirectory

_STAGES = ("select", "train", "score", "evaluate")


@dataclass(frozen=True)
class SummaryRow:
    """One arm where it stands now: means over the seeds that have come that far."""

    arm: str
    num_seeds: int
    labels: int
    map_i2t: float
    map_t2i: float
    map_mean: float
    share_of_full: float | None


@dataclass(frozen=True)
class RunRow:
    """One run: rounds finished, labels paid for, what is still open, and its configuration."""

    name: str
    num_finished: int
    labels: int | None
    open: bool
    state: str
    config: str
    fingerprint: str | None


@dataclass(frozen=True)
class StageRow:
    """Mean seconds of a round by stage, over all finished rounds of an arm, and what all of its runs took together."""

    arm: str
    num_rounds: int
    seconds: Mapping[str, float]
    total: float


def summary_rows(experiment_path: str, settings: ReportSettings | None = None) -> list[SummaryRow]:
    """Arms of an experiment with their latest figures; raises `RunError` without a finished round."""
    settings = settings or ReportSettings()
    summaries = summarise_arms(read_experiment(experiment_path), settings)
    return [
        SummaryRow(row.arm, row.num_final, row.labels, row.final["i2t"].mean, row.final["t2i"].mean, row.final["mean"].mean, row.share)
        for row in summaries
    ]


def finished_rounds(experiment_path: str, run_id: str) -> int:
    """Rounds that a run has finished; 0 if it has not begun."""
    return sum(storage.exists(place.report) for place in RunDirectory(storage.join(experiment_path, run_id)).rounds())


def run_rows(experiment: Experiment, settings: ReportSettings) -> list[RunRow]:
    """Every run, those without a finished round included."""
    buying = [run for run in experiment.runs if run.arm != settings.full_arm]
    furthest = max((finished.index for run in buying for finished in run.finished), default=0)
    return [_run_row(run, 0 if run.arm == settings.full_arm else furthest) for run in experiment.runs]


def _run_row(run: Run, furthest: int) -> RunRow:
    is_open, state = _state(run, furthest)
    has_config = storage.exists(run.directory.config)
    return RunRow(
        name=run.name,
        num_finished=len(run.finished),
        labels=run.finished[-1].labels if run.finished else None,
        open=is_open,
        state=state,
        config=run.directory.config,
        fingerprint=run.directory.fingerprint()[:12] if has_config else None,
    )


def _state(run: Run, furthest: int) -> tuple[bool, str]:
    last = run.finished[-1].index if run.finished else -1
    if run.unfinished and (begun := run.unfinished[-1]).index > last:  # a round whose labels nobody could tell stays without a report
        if storage.exists(begun.receipt):
            return True, f"round {begun.index} unfinished: labels bought, not yet evaluated"
        return True, f"round {begun.index} unfinished: " + ("labels asked for" if storage.exists(begun.selection) else "begun")
    if not run.finished:
        return True, "no round begun"
    if run.finished[-1].index < furthest:
        return True, f"at round {run.finished[-1].index}; another run is at round {furthest}"
    return False, "every round begun is finished"


def stage_rows(experiment: Experiment, settings: ReportSettings) -> list[StageRow]:
    """Seconds of each arm by stage, in the order in which a round does them."""
    arms = experiment.arms(first=settings.baseline, last=settings.full_arm)
    names = {stage for run in experiment.runs for finished in run.finished for stage in finished.seconds}
    stages = [stage for stage in _STAGES if stage in names] + sorted(names - set(_STAGES))
    return [_stage_row(arm, experiment.of_arm(arm), stages) for arm in arms] if stages else []


def _stage_row(arm: str, runs: Sequence[Run], stages: Sequence[str]) -> StageRow:
    rounds = [finished.seconds for run in runs for finished in run.finished]
    sums = {stage: sum(seconds.get(stage, 0.0) for seconds in rounds) for stage in stages}
    return StageRow(arm, len(rounds), {stage: total / len(rounds) for stage, total in sums.items()}, sum(sums.values()))
