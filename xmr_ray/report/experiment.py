"""An experiment read back from its folder: runs `<arm>-s<seed>/` with their finished and unfinished rounds."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xmr_ray import storage
from xmr_ray.errors import RunError
from xmr_ray.runs.directory import RoundDirectory, RunDirectory
from xmr_ray.types import DirectionReport, RetrievalReport

_RUN_NAME = re.compile(r"(?P<arm>.+)-s(?P<seed>\d+)")


@dataclass(frozen=True)
class FinishedRound:
    """What a round's report says; `labels` counts every label paid for, those of the validation split included.

    `num_held_out` is the number of bought pairs that only measured mAP, None where the test split has its truth.
    """

    directory: RoundDirectory
    labels: int
    num_cannot_tell: int
    space: str
    retrieval: Mapping[str, RetrievalReport]
    training: Mapping[str, Any]
    seconds: Mapping[str, float]
    num_held_out: int | None = None

    @property
    def index(self) -> int:
        """Number of the round."""
        return self.directory.index

    @property
    def chosen(self) -> RetrievalReport:
        """Retrieval in the space that the run itself chose."""
        return self.retrieval[self.space]


@dataclass(frozen=True)
class Run:
    """One arm with one seed."""

    directory: RunDirectory
    arm: str
    seed: int
    finished: tuple[FinishedRound, ...]
    unfinished: tuple[RoundDirectory, ...]

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.arm}-s{self.seed}"


@dataclass(frozen=True)
class Experiment:
    """Every run of an experiment, by arm and seed; runs may be unfinished."""

    path: str
    name: str
    runs: tuple[Run, ...]

    def of_arm(self, arm: str) -> tuple[Run, ...]:
        """Runs of one arm that have finished at least one round, by seed."""
        return tuple(run for run in self.runs if run.arm == arm and run.finished)

    def arms(self, *, first: str = "random", last: str = "full") -> list[str]:
        """Arms with a finished round, alphabetical but for the baseline (first) and full supervision (last)."""
        names = {run.arm for run in self.runs if run.finished}
        return sorted(names, key=lambda arm: (arm == last, arm != first, arm))


def read_experiment(path: str) -> Experiment:
    """The runs of an experiment.

    Raises:
        RunError: there is no such folder, no run in it, or no run with a finished round; or a report cannot be understood.
    """
    if not storage.exists(path):
        raise RunError(
            f"{path}: there is no such experiment folder; give the folder that holds runs such as random-s0, or start one with `xmr-ray run`"
        )
    matches = [match for name in storage.list_names(path) if (match := _RUN_NAME.fullmatch(name))]
    runs = [_read_run(storage.join(path, match[0]), match["arm"], int(match["seed"])) for match in matches]
    if not any(run.finished for run in runs):
        found = f"{len(runs)} runs" if runs else "no run folder (<arm>-s<seed>)"
        raise RunError(f"{path}: no finished round to report on, found {found}; let `xmr-ray run` finish a round, a stopped run goes on where it was")
    name = storage.resolve(path)[1].rstrip("/").rsplit("/", 1)[-1]
    return Experiment(path.rstrip("/"), name, tuple(sorted(runs, key=lambda run: (run.arm, run.seed))))


def _read_run(path: str, arm: str, seed: int) -> Run:
    directory = RunDirectory(path)
    finished, unfinished = [], []
    for round_directory in directory.rounds():
        report = round_directory.read_report()
        if report is None:
            unfinished.append(round_directory)
        else:
            finished.append(_finished_round(round_directory, report))
    return Run(directory, arm, seed, tuple(finished), tuple(unfinished))


def _finished_round(directory: RoundDirectory, report: Mapping[str, Any]) -> FinishedRound:
    try:
        retrieval = {name: RetrievalReport(_direction(both["i2t"]), _direction(both["t2i"])) for name, both in report["retrieval"].items()}
        if report["space"] not in retrieval:
            raise RunError(
                f"{directory.report}: space {report['space']!r} has no retrieval figures, found {sorted(retrieval)}; remove the file to redo it"
            )
        return FinishedRound(
            directory=directory,
            labels=int(report["num_bought"]) + int(report["num_validation_labels"]),
            num_cannot_tell=int(report["num_cannot_tell"]),
            space=report["space"],
            retrieval=retrieval,
            training=dict(report.get("training", {})),
            seconds={stage: float(value) for stage, value in report.get("seconds", {}).items()},
            num_held_out=report.get("num_held_out"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{directory.report}: not a round's report ({type(error).__name__}: {error}); remove it to do the round's evaluation again"
        ) from error


def _direction(report: Mapping[str, Any]) -> DirectionReport:
    return DirectionReport(
        map_all=_number(report["map_all"]),
        map_50=_number(report["map_50"]),
        recall={int(k): _number(value) for k, value in report["recall"].items()},
        num_queries=int(report["num_queries"]),
        num_without_relevant=int(report["num_without_relevant"]),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
