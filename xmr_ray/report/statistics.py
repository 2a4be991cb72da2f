"""Means over seeds with their intervals, and the numbers that describe a curve of mAP against labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Curve = Sequence[tuple[float, float]]
"""Points (labels, mAP), ascending in labels."""


@dataclass(frozen=True)
class Interval:
    """A mean over `num` seeds and half the width of its interval; one seed gives no interval."""

    mean: float
    half: float | None
    num: int

    @property
    def low(self) -> float:
        """Lower end; the mean itself where there is no interval."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """Upper end; the mean itself where there is no interval."""
        return self.mean + (self.half or 0.0)


def student_t_probability(t: float, degrees: int) -> float:
    """P(|T| <= t) for Student's t with a whole number of degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    >>> round(student_t_probability(1.0, 1), 6)
    0.5
    """
    angle = math.atan2(t, math.sqrt(degrees))
    cosine, term, total = math.cos(angle), 1.0, 0.0
    if degrees % 2 == 0:
        for k in range(degrees // 2):
            total += term
            term *= cosine**2 * (2 * k + 1) / (2 * k + 2)
        return math.sin(angle) * total
    term = cosine
    for k in range((degrees - 1) // 2):
        total += term
        term *= cosine**2 * (2 * k + 2) / (2 * k + 3)
    return 2 / math.pi * (angle + math.sin(angle) * total)


def student_t_quantile(confidence: float, degrees: int) -> float:
    """The t within which a share `confidence` of Student's distribution lies, on both sides together.

    >>> round(student_t_quantile(0.95, 2), 3)
    4.303
    """
    low, high = 0.0, 1.0
    while student_t_probability(high, degrees) < confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if student_t_probability(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return high


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean of one value a seed with its Student interval.

    >>> interval = mean_interval([0.5, 0.7])
    >>> round(interval.low, 3), interval.mean, round(interval.high, 3)
    (-0.671, 0.6, 1.871)
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Interval(mean, None, len(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, student_t_quantile(confidence, len(values) - 1) * error, len(values))


def labels_to_reach(curve: Curve, target: float) -> float | None:
    """Labels at which a curve first reaches `target`, linear between rounds; None if it never does.

    A curve that begins at or above the target gives its first number of labels, which is then an upper bound.

    >>> labels_to_reach([(100, 0.4), (200, 0.6), (300, 0.65)], 0.5)
    150.0
    >>> labels_to_reach([(100, 0.4), (200, 0.6)], 0.7) is None
    True
    """
    previous: tuple[float, float] | None = None
    for labels, value in curve:
        if value >= target:
            if previous is None:
                return float(labels)
            return previous[0] + (target - previous[1]) / (value - previous[1]) * (labels - previous[0])
        previous = (labels, value)
    return None


def mean_height(curve: Curve, *, start: float, stop: float) -> float | None:
    """Area under a curve between two numbers of labels, divided by their distance; None where the curve does not cover them.

    >>> mean_height([(0, 0.0), (10, 1.0), (20, 1.0)], start=0, stop=20)
    0.75
    """
    if not curve or stop <= start or curve[0][0] > start or curve[-1][0] < stop:
        return None
    labels, values = np.array(curve, dtype=np.float64).T
    inside = labels[(labels > start) & (labels < stop)]
    xs = np.concatenate([[start], inside, [stop]])
    return float(np.trapezoid(np.interp(xs, labels, values), xs) / (stop - start))
