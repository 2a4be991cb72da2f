"""Arms over their seeds: mean curves, labels needed, final figures, and what can be said of the difference to the baseline."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from xmr_ray.report.experiment import Experiment, FinishedRound, Run
from xmr_ray.report.settings import ReportSettings
from xmr_ray.report.statistics import Interval, labels_to_reach, mean_height, mean_interval
from xmr_ray.types import RetrievalReport

Measure = Literal["mean", "i2t", "t2i"]
MEASURES: Mapping[Measure, Callable[[RetrievalReport], float]] = {
    "mean": lambda report: report.map_mean,
    "i2t": lambda report: report.i2t.map_all,
    "t2i": lambda report: report.t2i.map_all,
}


@dataclass(frozen=True)
class Point:
    """Mean over seeds at one number of labels; `whole` when every seed of the arm has come this far."""

    labels: int
    value: Interval
    whole: bool


@dataclass(frozen=True)
class Reached:
    """Labels needed for a share of full supervision, over the seeds that got there; `at_start` when a seed's first round was enough."""

    share: float
    labels: Interval | None
    num_reached: int
    num_seeds: int
    at_start: bool


@dataclass(frozen=True)
class ArmSummary:
    """One row of the main table; `share` is the final mean mAP over full supervision's, `ahead` the paired difference to the baseline."""

    arm: str
    seeds: tuple[int, ...]
    num_final: int
    labels: int
    final: Mapping[Measure, Interval]
    share: float | None
    reached: tuple[Reached, ...]
    area: Interval | None
    ahead: Interval | None


@dataclass(frozen=True)
class SpaceRow:
    """Final figures of one arm in one space, means over seeds; recall is the mean of both directions."""

    arm: str
    space: str
    chosen_by: int
    num_seeds: int
    labels: int
    maps: Mapping[Measure, Interval]
    map_50: float
    recall: Mapping[int, float]


def run_curve(run: Run, measure: Measure) -> list[tuple[float, float]]:
    """Points (labels, mAP in the space the run chose) of one run; of rounds with equally many labels the last counts.

    Rounds without a mAP (a corpus without truth) have no point.
    """
    points = {float(finished.labels): MEASURES[measure](finished.chosen) for finished in run.finished}
    return sorted((labels, value) for labels, value in points.items() if math.isfinite(value))


def mean_curve(runs: Sequence[Run], measure: Measure, *, confidence: float) -> list[Point]:
    """Mean over the seeds at every number of labels that one of them has come to."""
    curves = [dict(run_curve(run, measure)) for run in runs]
    counts = sorted({labels for curve in curves for labels in curve})
    at = {labels: [curve[labels] for curve in curves if labels in curve] for labels in counts}
    return [Point(int(labels), mean_interval(values, confidence=confidence), len(values) == len(runs)) for labels, values in at.items()]


def final_labels(runs: Sequence[Run]) -> int:
    """The number of labels at which most seeds have a figure; the largest of those.

    Comparing an arm's seeds at different numbers of labels would mix a run that is still going on with finished ones.
    """
    counts = Counter(labels for run in runs for labels in {finished.labels for finished in run.finished})
    return max(counts, key=lambda labels: (counts[labels], labels))


def final_rounds(runs: Sequence[Run]) -> list[FinishedRound]:
    """One round a seed at `final_labels`; seeds that have not come that far are missing."""
    labels = final_labels(runs)
    last = [[finished for finished in run.finished if finished.labels == labels] for run in runs]
    return [rounds[-1] for rounds in last if rounds]


def full_supervision(experiment: Experiment, settings: ReportSettings, measure: Measure = "mean") -> tuple[int, Interval] | None:
    """Labels and mAP of the arm with every label; None where the experiment has no such arm yet, or it has no mAP above 0."""
    runs = experiment.of_arm(settings.full_arm)
    values = [MEASURES[measure](finished.chosen) for finished in final_rounds(runs)] if runs else []
    interval = mean_interval(values, confidence=settings.confidence) if values else None
    return (final_labels(runs), interval) if interval and interval.mean > 0 else None


def summarise_arms(experiment: Experiment, settings: ReportSettings) -> list[ArmSummary]:
    """One summary an arm, the baseline first and full supervision last."""
    arms = experiment.arms(first=settings.baseline, last=settings.full_arm)
    bounds = common_range([run for arm in arms if arm != settings.full_arm for run in experiment.of_arm(arm)])
    return [_summarise(experiment, arm, bounds, settings) for arm in arms]


def common_range(runs: Sequence[Run]) -> tuple[float, float] | None:
    """The stretch of labels that the curves of all runs cover; None if there is none."""
    if not runs:
        return None
    start = max(min(finished.labels for finished in run.finished) for run in runs)
    stop = min(max(finished.labels for finished in run.finished) for run in runs)
    return (start, stop) if start < stop else None


def _summarise(experiment: Experiment, arm: str, bounds: tuple[float, float] | None, settings: ReportSettings) -> ArmSummary:
    runs = experiment.of_arm(arm)
    rounds = final_rounds(runs)
    final = {measure: mean_interval([value(last.chosen) for last in rounds], confidence=settings.confidence) for measure, value in MEASURES.items()}
    full = full_supervision(experiment, settings)
    is_full = arm == settings.full_arm
    return ArmSummary(
        arm=arm,
        seeds=tuple(run.seed for run in runs),
        num_final=len(rounds),
        labels=final_labels(runs),
        final=final,
        share=final["mean"].mean / full[1].mean if full else None,
        reached=tuple(_reached(runs, share, full[1].mean, settings) for share in settings.shares) if full and not is_full else (),
        area=None if is_full or bounds is None else _area(runs, bounds, settings),
        ahead=None if is_full or arm == settings.baseline else _ahead(runs, experiment.of_arm(settings.baseline), settings),
    )


def _reached(runs: Sequence[Run], share: float, full: float, settings: ReportSettings) -> Reached:
    curves = [run_curve(run, "mean") for run in runs]
    needed = [labels_to_reach(curve, share * full) for curve in curves]
    found = [labels for labels in needed if labels is not None]
    at_start = any(labels == curve[0][0] for labels, curve in zip(needed, curves, strict=True) if curve)
    return Reached(share, mean_interval(found, confidence=settings.confidence) if found else None, len(found), len(runs), at_start)


def _area(runs: Sequence[Run], bounds: tuple[float, float], settings: ReportSettings) -> Interval | None:
    heights = [mean_height(run_curve(run, "mean"), start=bounds[0], stop=bounds[1]) for run in runs]
    known = [height for height in heights if height is not None]
    return mean_interval(known, confidence=settings.confidence) if known else None


def _ahead(runs: Sequence[Run], baseline: Sequence[Run], settings: ReportSettings) -> Interval | None:
    others = {run.seed: dict(run_curve(run, "mean")) for run in baseline}
    labels = float(final_labels(runs))
    own = {run.seed: dict(run_curve(run, "mean")) for run in runs}
    shared = [seed for seed in own if labels in own[seed] and labels in others.get(seed, {})]
    if not shared:
        return None
    return mean_interval([own[seed][labels] - others[seed][labels] for seed in shared], confidence=settings.confidence)


def space_rows(experiment: Experiment, settings: ReportSettings) -> list[SpaceRow]:
    """Final figures of each arm in every space that was measured."""
    rows = []
    for arm in experiment.arms(first=settings.baseline, last=settings.full_arm):
        rounds = final_rounds(experiment.of_arm(arm))
        for space in sorted({name for last in rounds for name in last.retrieval}):
            rows.append(_space_row(arm, space, [last for last in rounds if space in last.retrieval], confidence=settings.confidence))
    return rows


def _space_row(arm: str, space: str, rounds: Sequence[FinishedRound], *, confidence: float) -> SpaceRow:
    reports = [last.retrieval[space] for last in rounds]
    both = [direction for report in reports for direction in (report.i2t, report.t2i)]
    depths = sorted(set.intersection(*(set(direction.recall) for direction in both)))
    return SpaceRow(
        arm=arm,
        space=space,
        chosen_by=sum(last.space == space for last in rounds),
        num_seeds=len(rounds),
        labels=rounds[0].labels,
        maps={measure: mean_interval([value(report) for report in reports], confidence=confidence) for measure, value in MEASURES.items()},
        map_50=_mean([direction.map_50 for direction in both]),
        recall={depth: _mean([direction.recall[depth] for direction in both]) for depth in depths},
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
