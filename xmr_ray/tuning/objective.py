"""What a trial's curve is worth: one number, more is better."""

from collections.abc import Sequence
from itertools import pairwise

Curve = Sequence[tuple[int, float]]
"""Labels bought and validation mAP after each finished round, in order."""


def height_at(curve: Curve, labels: float) -> float:
    """Height (mAP) at a number of labels on the straight lines from (0, 0) through the rounds; beyond the last round it stays.

    >>> height_at([(50, 0.4), (100, 0.6)], 75), height_at([(50, 0.4)], 25), height_at([(50, 0.4)], 80)
    (0.5, 0.2, 0.4)
    """
    if not curve or labels <= 0:
        return 0.0
    for (x0, y0), (x1, y1) in pairwise([(0, 0.0), *curve]):
        if labels <= x1:
            return y0 + (y1 - y0) * (labels - x0) / (x1 - x0)
    return curve[-1][1]


def area(curve: Curve, up_to: float | None = None) -> float:
    """Mean height of the curve from 0 labels (mAP 0) to `up_to`, by default its end: what was had of each label that was paid for.

    It begins at 0 labels, so that trials with different first purchases are compared over the same stretch.

    >>> area([(50, 0.4), (100, 0.6)]), area([(50, 0.4), (100, 0.6)], up_to=50)
    (0.35, 0.2)
    """
    if not curve:
        return 0.0
    end = curve[-1][0] if up_to is None else up_to
    corners = [(0.0, 0.0), *((float(x), y) for x, y in curve if x < end), (float(end), height_at(curve, end))]
    return sum((y0 + y1) / 2 * (x1 - x0) for (x0, y0), (x1, y1) in pairwise(corners)) / end


def labels_to_reach(curve: Curve, target: float) -> float | None:
    """Labels at which the curve first reaches a mAP, on the straight lines between rounds; None if it never does.

    >>> labels_to_reach([(50, 0.4), (100, 0.6)], 0.5), labels_to_reach([(50, 0.4)], 0.5), labels_to_reach([(50, 0.4)], 0.3)
    (75.0, None, 50.0)
    """
    if curve and curve[0][1] >= target:
        return float(curve[0][0])
    for (x0, y0), (x1, y1) in pairwise(curve):
        if y1 >= target:
            return x0 + (x1 - x0) * (target - y0) / (y1 - y0)
    return None


def value_of(curve: Curve, *, target: float | None) -> float:
    """More is better: the area, or with a target minus the labels that it took to reach it.

    A curve that never reached it counts its last purchase and as much again for each whole `target` that it is short of.

    >>> value_of([(50, 0.4), (100, 0.6)], target=None), value_of([(50, 0.4), (100, 0.6)], target=0.5), value_of([(50, 0.4)], target=0.8)
    (0.35, -75.0, -75.0)
    """
    if target is None:
        return area(curve)
    if not curve:
        return float("-inf")
    reached = labels_to_reach(curve, target)
    best = max(height for _, height in curve)
    return -reached if reached is not None else -curve[-1][0] * (2 - best / target)
