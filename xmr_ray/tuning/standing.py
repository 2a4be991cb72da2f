"""Where trials stand beside each other: their order, the Pareto front, and how much each setting mattered."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xmr_ray.tuning.dimensions import AnyDimension, Choice
from xmr_ray.tuning.objective import area, value_of
from xmr_ray.tuning.records import TrialRecord


def ordered(records: Sequence[TrialRecord], *, target: float | None) -> list[TrialRecord]:
    """Best first: finished trials by their value, then stopped ones by how far they came, then refused ones; the lower number wins a tie."""

    def place(record: TrialRecord) -> tuple[float, ...]:
        if record.status == "finished":
            return (0, -value_of(record.curve, target=target), record.index)
        return (1 if record.status == "stopped" else 2, -record.labels, -area(record.curve), record.index)

    return sorted(records, key=place)


def front(records: Sequence[TrialRecord]) -> list[tuple[TrialRecord, int, float]]:
    """Trial, labels and mAP of every round that no other round of any trial beats with as few labels; fewest labels first.

    A trial may be left after any of its rounds, so each of them is a point.
    """
    points = sorted(
        ((record, labels, height) for record in records for labels, height in record.curve), key=lambda point: (point[1], -point[2], point[0].index)
    )
    kept: list[tuple[TrialRecord, int, float]] = []
    for point in points:
        if not kept or point[2] > kept[-1][2]:
            kept.append(point)
    return kept


def importance(records: Sequence[TrialRecord], space: Mapping[str, AnyDimension], *, target: float | None) -> dict[str, float]:
    """Share of the differences in rank between trials that each setting explains by itself, 0 to 1, largest first.

    Numbers: squared rank correlation with the trial's rank. Choices: squared correlation ratio of the ranks. The default and refused
    trials are left out. With few trials even a setting of no effect explains some: among n trials about 1 / (n - 1) for a number.
    """
    drawn = [record for record in ordered(records, target=target) if record.overrides and record.status != "refused"]
    ranks_N = np.arange(len(drawn), dtype=np.float64)
    found = {path: _explained(dimension, [record.overrides[path] for record in drawn], ranks_N) for path, dimension in space.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _explained(dimension: AnyDimension, values: Sequence[Any], ranks_N: np.ndarray) -> float:
    if len(values) < 3:
        return 0.0
    if isinstance(dimension, Choice):
        groups = [ranks_N[[value == choice for value in values]] for choice in dimension.values]
        between = sum(len(group) * (group.mean() - ranks_N.mean()) ** 2 for group in groups if len(group))
        return float(between / np.square(ranks_N - ranks_N.mean()).sum())
    numbers_N = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(numbers_N, return_inverse=True, return_counts=True)
    places_N = (np.cumsum(counts) - (counts + 1) / 2)[inverse]  # tied values share their mean rank
    if len(counts) < 2:
        return 0.0
    return float(np.corrcoef(places_N, ranks_N)[0, 1] ** 2)
