"""How the purchases of each arm that buys by regions lie among all train pairs: one row a round, means over seeds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xmr_ray.report.experiment import Experiment, Run
from xmr_ray.report.headline import ABSENT, decimal, percent, signed
from xmr_ray.report.settings import ReportSettings
from xmr_ray.runs.directory import RoundDirectory, read_json

PARTS = ("intra", "inter", "class")


@dataclass(frozen=True)
class DiagnosticsRow:
    """Means of one round's numbers over the seeds of an arm that have them; a number that no seed has is missing."""

    arm: str
    round_index: int
    num_seeds: int
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Column:
    """One column of the table: its head, what it means, and the numbers it needs."""

    head: str
    meaning: str
    needs: tuple[str, ...]
    show: str

    def cell(self, numbers: Mapping[str, float]) -> str:
        """The figure of one row, what goes in small print below it in brackets; a dash where a number is missing."""
        if not all(name in numbers for name in self.needs):
            return ABSENT
        return self.show.format(*(_write(name, numbers[name]) for name in self.needs))


_COLUMNS = (
    Column(
        "KL to\nall pairs",
        "how far the shares of everything bought, this purchase included, lie from the shares of all train pairs over cells, in nats. "
        "0 is proportional; few pairs over many cells cannot be, so compare arms in the same round.",
        ("kl",),
        "{}",
    ),
    Column(
        "MMD² to\nthe pool",
        "the same without cells: squared maximum mean discrepancy of everything bought to the pool, unbiased, "
        "so about 0 for random pairs and at times below.",
        ("mmd_squared",),
        "{}",
    ),
    Column(
        "cosine within\nthe purchase",
        "mean cosine of two of its pairs, below it that of the pool: a higher one than the pool's is a purchase that repeats itself.",
        ("mean_cosine", "pool_cosine"),
        "{} ({})",
    ),
    Column(
        "density\nratio",
        "mean share of the cells that its pairs come from over that of the pool's pairs: above 1 from dense regions, below 1 from sparse ones.",
        ("density_ratio",),
        "{}",
    ),
    Column("cells\ntouched", "cells that one of its pairs comes from, of all cells that hold a pair.", ("cells_touched", "num_cells"), "{} of {}"),
    Column(
        "label\ndistance",
        "total variation between the shares of the labels bought before it and those predicted for the pool: 0 is alike, 1 has nothing in common.",
        ("label_distance",),
        "{}",
    ),
    Column(
        "image's\nshare",
        "the image's share of the uncertainty within the modalities, the text has the rest; below it that of the pool.",
        ("image_share", "pool_image_share"),
        "{} ({})",
    ),
    *(
        Column(
            part,
            f"how far {meaning} lies above the pool's mean, in standard deviations; below it its share of what informativeness was made of.",
            (f"z_{part}", f"share_{part}"),
            "{} ({})",
        )
        for part, meaning in zip(
            PARTS,
            ("uncertainty within the modalities", "disagreement between the modalities", "uncertainty of the predicted labels"),
            strict=True,
        )
    ),
)


def diagnostics_rows(experiment: Experiment, settings: ReportSettings) -> list[DiagnosticsRow]:
    """A row for every arm and round in which some seed's purchase was described; unfinished rounds count, too."""
    arms = experiment.arms(first=settings.baseline, last=settings.full_arm)
    return [row for arm in arms for row in _arm_rows(arm, experiment.of_arm(arm))]


def used_columns(rows: Sequence[DiagnosticsRow]) -> list[Column]:
    """Columns that have a figure in one of the rows."""
    return [column for column in _COLUMNS if any(all(name in row.numbers for name in column.needs) for row in rows)]


def described_rounds(run: Run) -> Iterator[RoundDirectory]:
    """Every round of a run, in order, finished or not."""
    return iter(sorted([*(finished.directory for finished in run.finished), *run.unfinished], key=lambda place: place.index))


def _arm_rows(arm: str, runs: Sequence[Run]) -> Iterator[DiagnosticsRow]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for run in runs:
        for place in described_rounds(run):
            content = read_json(place.diagnostics)
            if content is not None:
                found.setdefault(place.index, []).append(content)
    for index, contents in sorted(found.items()):
        names = {name for content in contents for name, value in content.items() if isinstance(value, int | float)}
        yield DiagnosticsRow(arm, index, len(contents), {name: _mean(contents, name) for name in sorted(names)})


def _mean(contents: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [content[name] for content in contents if name in content]
    return math.fsum(values) / len(values)


def _write(name: str, value: float) -> str:
    if name in ("cells_touched", "num_cells"):
        return f"{value:,.0f}"
    if name.startswith("share_") or name.endswith("image_share"):
        return percent(value)
    if name.startswith("z_"):
        return signed(value, 2)
    return signed(value, 4).lstrip("+") if name == "mmd_squared" else decimal(value, 2 if name.endswith(("cosine", "ratio")) else 3)
