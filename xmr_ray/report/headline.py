"""The findings in plain sentences, and how numbers are written on the page."""

import math
from collections.abc import Sequence

from xmr_ray.report.arms import ArmSummary, Reached
from xmr_ray.report.settings import ReportSettings
from xmr_ray.report.statistics import Interval

SPACES = {
    "overlap": "expected number of shared labels, the inner product of class probabilities",
    "prob": "cosine of class probabilities",
    "feature": "cosine of embeddings in the common space",
    "concat": "mean of both cosines",
}
ABSENT = "–"


def decimal(value: float | None, places: int = 3) -> str:
    """A figure, or a dash where there is none.

    >>> decimal(0.61249), decimal(None), decimal(float("nan"))
    ('0.612', '–', '–')
    """
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.{places}f}"


def percent(value: float | None, places: int = 0) -> str:
    """A share in per cent.

    >>> percent(0.956), percent(0.956, 1)
    ('96 %', '95.6 %')
    """
    return ABSENT if value is None or not math.isfinite(value) else f"{100 * value:.{places}f} %"


def with_interval(value: Interval | None, places: int = 3) -> str:
    """A mean with half the width of its interval, where there is one.

    >>> with_interval(Interval(0.6, 0.0127, 3)), with_interval(Interval(0.6, None, 1))
    ('0.600 ± 0.013', '0.600')
    """
    if value is None or not math.isfinite(value.mean):
        return ABSENT
    return f"{value.mean:,.{places}f}" + ("" if value.half is None else f" ± {value.half:,.{places}f}")


def signed(value: float, places: int = 3) -> str:
    """A difference with its sign; the minus is a minus, not a hyphen.

    >>> signed(-0.0121), signed(-0.0001)
    ('−0.012', '0.000')
    """
    text = f"{value:+.{places}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def difference(value: Interval | None) -> str:
    """A difference with both ends of its interval.

    >>> difference(Interval(0.01, 0.02, 3))
    '+0.010 (−0.010 to +0.030)'
    """
    if value is None:
        return ABSENT
    return signed(value.mean) + ("" if value.half is None else f" ({signed(value.low)} to {signed(value.high)})")


def labels_needed(reached: Reached) -> str:
    """Labels needed for a share of full supervision, as it stands in a table.

    >>> labels_needed(Reached(0.9, Interval(420.0, None, 1), 1, 3, at_start=False)), labels_needed(Reached(0.9, None, 0, 3, at_start=False))
    ('420 (1 of 3 seeds)', 'not reached')
    """
    if reached.labels is None:
        return "not reached"
    text = ("≤ " if reached.at_start else "") + with_interval(reached.labels, 0)
    return text if reached.num_reached == reached.num_seeds else f"{text} ({reached.num_reached} of {reached.num_seeds} seeds)"


def headline(arms: Sequence[ArmSummary], settings: ReportSettings) -> list[str]:
    """What was found, in sentences; the first one stands for all."""
    full = next((arm for arm in arms if arm.arm == settings.full_arm), None)
    buying = sorted((arm for arm in arms if arm.arm != settings.full_arm), key=lambda arm: -arm.final["mean"].mean)
    if not buying:
        return [
            f"With every label ({arms[0].labels:,}), mAP is {with_interval(arms[0].final['mean'])}; no arm that buys labels has finished a round yet."
        ]
    best, others = buying[0], buying[1:]
    sentences = [_first(best, full)]
    sentences += [f"{_name(arm)} reaches {decimal(arm.final['mean'].mean)} with {arm.labels:,} labels{_of_full(arm)}." for arm in others]
    sentences += [_compared(arm, settings) for arm in buying if arm.ahead is not None]
    sentences += _needed(buying)
    return sentences


def _first(best: ArmSummary, full: ArmSummary | None) -> str:
    mean = decimal(best.final["mean"].mean)
    if full is None:
        return f"With {best.labels:,} labels bought, {_name(best)} reaches a mAP of {mean}. There is no run with every label to compare with yet."
    return (
        f"With {best.labels:,} of {full.labels:,} labels, {_name(best)} reaches a mAP of {mean}: "
        f"{percent(best.share)} of what the same networks reach with every label ({decimal(full.final['mean'].mean)})."
    )


def _of_full(arm: ArmSummary) -> str:
    return "" if arm.share is None else f" ({percent(arm.share)})"


def _compared(arm: ArmSummary, settings: ReportSettings) -> str:
    ahead = arm.ahead or Interval(0.0, None, 0)
    text = f"At {arm.labels:,} labels, {_name(arm)} against {_name(settings.baseline)} is {signed(ahead.mean)}"
    if ahead.half is None:
        return f"{text} in one seed: no interval, so this may be chance."
    verdict = "zero lies inside, so this may be chance" if ahead.low <= 0 <= ahead.high else "zero lies outside"
    return f"{text}, {percent(settings.confidence)} interval {signed(ahead.low)} to {signed(ahead.high)} over {ahead.num} seeds: {verdict}."


def _needed(buying: Sequence[ArmSummary]) -> list[str]:
    sentences = []
    for position, reached in enumerate(buying[0].reached):
        parts = [f"{_name(arm)} {labels_needed(arm.reached[position])}" for arm in buying]
        sentences.append(f"Labels needed for {percent(reached.share)} of full supervision: {', '.join(parts)}.")
    return sentences


def _name(arm: ArmSummary | str) -> str:
    return f"“{arm if isinstance(arm, str) else arm.arm}”"
