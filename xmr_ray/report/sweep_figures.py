"""Pictures of a search: trials across all dimensions, how much each mattered, and what labels buy."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xmr_ray.report.figures import DARK, LIGHT, Theme, arm_colours
from xmr_ray.tuning.dimensions import AnyDimension, Choice, Integer, LogUniform
from xmr_ray.tuning.objective import area
from xmr_ray.tuning.records import TrialRecord

_BLUE, _ORANGE = 1, 2


def height_of(dimension: AnyDimension, value: Any) -> float:
    """Where a value lies on its axis, from 0 (lowest) to 1.

    >>> height_of(LogUniform(low=1, high=100), 10.0), height_of(Choice(values=("a", "b", "c")), "b")
    (0.5, 0.5)
    """
    if isinstance(dimension, Choice):
        return dimension.values.index(value) / (len(dimension.values) - 1)
    logarithmic = isinstance(dimension, LogUniform) or (isinstance(dimension, Integer) and dimension.log)
    low, high, at = (np.log(number) if logarithmic else float(number) for number in (dimension.low, dimension.high, value))
    return float((at - low) / (high - low))


def draw_parallel(records: Sequence[TrialRecord], space: Mapping[str, AnyDimension], names: Mapping[str, str], *, theme: Theme) -> bytes:
    """One line a trial across the dimensions to its area; the best is orange, stopped trials are thin and grey. `records` are best first.

    The last axis is the area up to the labels that every trial bought, the only one on which stopped trials can be compared.
    """
    shown = [record for record in records if record.curve and set(space) <= set(record.overrides)]
    figure, axes = _figure(theme, width=9.2, height=3.9)
    common = min((record.labels for record in records if record.curve), default=1)
    values = [area(record.curve, up_to=common) for record in shown]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    spread = (high - low) or 1.0
    for record, value in reversed(list(zip(shown, values, strict=True))):
        heights = [height_of(dimension, record.overrides[path]) for path, dimension in space.items()]
        best, finished = record is records[0], record.status == "finished"
        colour = arm_colours(_ORANGE if best else _BLUE)[theme.dark] if finished else theme.quiet
        style: dict[str, Any] = {
            "lw": 2.4 if best else 1.3 if finished else 0.7,
            "alpha": 1.0 if best else 0.8 if finished else 0.55,
            "zorder": 3 + best + finished,
        }
        axes.plot([*heights, (value - low) / spread], color=colour, marker="o", ms=3 if finished else 1.5, **style)
    _mark_axes(axes, [*space.values()], [names[path] for path in space], ends=(low, high), last=f"area to {common:,} labels", theme=theme)
    return _png(figure, theme)


def _mark_axes(axes: Axes, dimensions: Sequence[AnyDimension], names: Sequence[str], *, ends: tuple[float, float], last: str, theme: Theme) -> None:
    axes.set_xlim(-0.3, len(dimensions) + 0.3)
    axes.set_ylim(-0.16, 1.16)
    axes.set_yticks([])
    axes.set_xticks(range(len(dimensions) + 1), [*names, last], fontsize=8.5, color=theme.ink)
    axes.tick_params(axis="x", length=0, pad=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for at, dimension in enumerate([*dimensions, None]):
        axes.axvline(at, ymin=0.12, ymax=0.88, color=theme.quiet, lw=0.8, zorder=1)
        if dimension is None:
            marks = [(0.0, f"{ends[0]:.3f}"), (1.0, f"{ends[1]:.3f}")]
        elif isinstance(dimension, Choice):
            marks = [(height_of(dimension, value), _short(value)) for value in dimension.values]
        else:
            marks = [(0.0, _short(dimension.low)), (1.0, _short(dimension.high))]
        for height, text in marks:
            aligned: dict[str, Any] = {
                "va": "top" if height == 0 else "bottom" if height == 1 else "center",
                "ha": "center" if height in (0, 1) else "left",
            }
            offset = -0.05 if height == 0 else 0.05 if height == 1 else 0
            axes.text(at + (0 if height in (0, 1) else 0.04), height + offset, text, fontsize=7.5, color=theme.quiet, parse_math=False, **aligned)


def draw_importance(shares: Mapping[str, float], names: Mapping[str, str], *, theme: Theme) -> bytes:
    """A bar a dimension, largest first: how much of the trials' order it explains by itself."""
    figure, axes = _figure(theme, width=9.2, height=0.8 + 0.34 * len(shares))
    paths = list(shares)[::-1]
    axes.barh(range(len(paths)), [shares[path] for path in paths], color=arm_colours(_BLUE)[theme.dark], height=0.55)
    for at, path in enumerate(paths):
        axes.text(shares[path] + 0.01, at, f"{shares[path]:.2f}", va="center", fontsize=8, color=theme.ink)
    axes.set_yticks(range(len(paths)), [names[path] for path in paths], fontsize=8.5, color=theme.ink)
    axes.set_xlim(0, max(1.0, 1.08 * max(shares.values(), default=1.0)))
    axes.set_xlabel("share of the order of trials that it explains alone", fontsize=8.5, color=theme.quiet)
    axes.tick_params(axis="x", colors=theme.quiet, labelsize=8)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.quiet)
    return _png(figure, theme)


def draw_curves(records: Sequence[TrialRecord], front: Sequence[tuple[TrialRecord, int, float]], *, theme: Theme) -> bytes:
    """Validation curves of all trials: the best orange, the default dashed, stopped ones grey; with `front`, its points ringed. Best first."""
    figure, axes = _figure(theme, width=9.2, height=3.9)
    for place, record in reversed(list(enumerate(records))):
        default, best = record.index == 0, place == 0
        colour = arm_colours(_ORANGE if best else _BLUE)[theme.dark] if record.status == "finished" else theme.quiet
        colour = theme.ink if default and not best else colour
        xs, ys = zip(*record.curve, strict=True) if record.curve else ((), ())
        axes.plot(
            xs, ys, color=colour, lw=2.2 if best or default else 1.0, ls="--" if default else "-", marker="o", ms=2.5, zorder=3 + best + default
        )
    axes.plot([x for _, x, _ in front], [y for _, _, y in front], "o", mfc="none", mec=theme.ink, ms=8, mew=1.1, zorder=6)
    axes.set_xlabel("labels bought", fontsize=8.5, color=theme.quiet)
    axes.set_title("mAP on the validation split, mean of both directions", loc="left", fontsize=9.5, color=theme.ink, pad=10)
    axes.tick_params(colors=theme.quiet, labelsize=8, length=0)
    axes.grid(axis="y", color=theme.grid, lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.quiet)
    return _png(figure, theme)


def both_themes(draw: Any) -> dict[str, bytes]:
    """A picture for light and for dark pages."""
    return {"light": draw(theme=LIGHT), "dark": draw(theme=DARK)}


def _figure(theme: Theme, *, width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=170, facecolor=theme.background, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_facecolor(theme.background)
    return figure, axes


def _png(figure: Figure, theme: Theme) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=theme.background, metadata={"Software": None})
    return buffer.getvalue()


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 18 else text[:17] + "…"
