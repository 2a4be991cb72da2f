"""What a report leaves for other programs: `curves.csv` and `summary.json`."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from xmr_ray.report.arms import ArmSummary, SpaceRow
from xmr_ray.report.diagnostics import DiagnosticsRow
from xmr_ray.report.experiment import Experiment, FinishedRound, Run
from xmr_ray.types import RetrievalReport

_DEPTHS = (1, 5, 10)


def curves_csv(experiment: Experiment) -> bytes:
    """One line for each run, round and space; `chosen` is 1 for the space that the run itself chose."""
    directions = [f"{name}_{direction}" for direction in ("i2t", "t2i") for name in ("map", "map_50", *(f"recall_{k}" for k in _DEPTHS))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["arm", "seed", "round", "labels", "space", "chosen", "map_mean", *directions])
    for run in experiment.runs:
        for finished in run.finished:
            for space, report in sorted(finished.retrieval.items()):
                writer.writerow(_line(run, finished, space, report))
    return buffer.getvalue().encode()


def _line(run: Run, finished: FinishedRound, space: str, report: RetrievalReport) -> list[Any]:
    figures = [[way.map_all, way.map_50, *(way.recall.get(k, "") for k in _DEPTHS)] for way in (report.i2t, report.t2i)]
    return [run.arm, run.seed, finished.index, finished.labels, space, int(space == finished.space), report.map_mean, *figures[0], *figures[1]]


def summary_json(experiment: Experiment, arms: Sequence[ArmSummary], spaces: Sequence[SpaceRow], described: Sequence[DiagnosticsRow] = ()) -> bytes:
    """The tables of the page; figures that do not exist are null."""
    runs = [
        {
            "run": run.name,
            "finished_rounds": [finished.index for finished in run.finished],
            "unfinished_rounds": [begun.index for begun in run.unfinished],
        }
        for run in experiment.runs
    ]
    content = {
        "experiment": experiment.name,
        "arms": [asdict(arm) for arm in arms],
        "spaces": [asdict(row) for row in spaces],
        "diagnostics": [asdict(row) for row in described],
        "runs": runs,
    }
    return json.dumps(_finite(content), indent=2, sort_keys=True, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
