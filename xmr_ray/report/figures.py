"""Curves of mAP against labels bought, drawn for light and dark pages and for wide and narrow screens."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from xmr_ray.report.arms import Point
from xmr_ray.report.statistics import Interval

_PALETTE: tuple[tuple[str, str], ...] = (
    ("#6b7280", "#a3acb9"),
    ("#0072b2", "#56b4e9"),
    ("#c14a09", "#f08a4b"),
    ("#00805c", "#2fc29a"),
    ("#a3497f", "#dd93bd"),
    ("#8a6a00", "#e3bd3f"),
)
"""Okabe and Ito's colours, darkened for light pages and lightened for dark ones; the baseline is grey."""
_MARKERS = "osD^vP"


@dataclass(frozen=True)
class Theme:
    """Colours of a page."""

    dark: bool
    background: str
    ink: str
    quiet: str
    grid: str


LIGHT = Theme(dark=False, background="#ffffff", ink="#1b1f24", quiet="#6a727d", grid="#e6e8eb")
DARK = Theme(dark=True, background="#1b1e23", ink="#e8eaed", quiet="#9aa3ae", grid="#30353c")


@dataclass(frozen=True)
class Line:
    """One arm's curve; `position` picks its colour and marker."""

    arm: str
    position: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Panel:
    """One set of axes: curves, and the mAP of full supervision with the number of its labels."""

    title: str
    lines: Sequence[Line]
    full: tuple[int, Interval] | None
    shares: Sequence[float] = ()


def arm_colours(position: int | None) -> tuple[str, str]:
    """An arm's colour on light and on dark pages; None is full supervision, which has the colour of its dashed line."""
    if position is None:
        return LIGHT.ink, DARK.ink
    return _PALETTE[position % len(_PALETTE)]


def use_logarithmic(labels: Sequence[int], axis: str) -> bool:
    """Whether the labels' axis is logarithmic.

    >>> use_logarithmic([50, 100, 500], "auto"), use_logarithmic([50, 100], "auto"), use_logarithmic([50, 100], "log")
    (True, False, True)
    """
    return axis == "log" or (axis == "auto" and min(labels) > 0 and max(labels) / min(labels) >= 10)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved as little as needed to lie at least `gap` apart, in their order.

    >>> spread([0.0, 0.1, 3.0], 1.0)
    [-0.45, 0.55, 3.0]
    """
    groups = [[index] for index in sorted(range(len(heights)), key=lambda i: heights[i])]
    middles = [heights[group[0]] for group in groups]
    k = 0
    while k + 1 < len(groups):
        if middles[k + 1] - middles[k] >= gap * (len(groups[k]) + len(groups[k + 1])) / 2 - 1e-12:
            k += 1
            continue
        groups[k] += groups.pop(k + 1)
        middles.pop(k + 1)
        middles[k] = math.fsum(heights[i] for i in groups[k]) / len(groups[k])
        k = max(k - 1, 0)
    placed = {i: middle + gap * (rank - (len(group) - 1) / 2) for group, middle in zip(groups, middles, strict=True) for rank, i in enumerate(group)}
    return [placed[i] for i in range(len(heights))]


def draw_curves(panels: Sequence[Panel], *, theme: Theme, narrow: bool, axis: str) -> bytes:
    """Panels beside each other (below each other on narrow screens) as PNG; every arm is named at the end of its line."""
    columns = 1 if narrow else len(panels)
    rows = math.ceil(len(panels) / columns)
    width, height = (4.6 if narrow else 9.2), rows * (3.6 if narrow or columns > 1 else 4.4)
    figure = Figure(figsize=(width, height), dpi=200, facecolor=theme.background)
    FigureCanvasAgg(figure)
    _place(figure, rows, columns, names=max((len(line.arm) for panel in panels for line in panel.lines), default=0))
    limits = _limits(panels)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        if limits:
            axes.set_ylim(limits)
        _draw(axes, panel, theme=theme, axis=axis)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=theme.background, metadata={"Software": None})
    return buffer.getvalue()


def _place(figure: Figure, rows: int, columns: int, *, names: int) -> None:
    width, height = figure.get_figwidth(), figure.get_figheight()
    left, bottom, top = 0.55, 0.52, 0.42
    right = 0.2 + 0.074 * (names + 7)
    each = (width - columns * (left + right)) / columns
    tall = (height - rows * (bottom + top)) / rows
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=(left + right) / each,
        hspace=(bottom + top) / tall,
    )


def _draw(axes: Axes, panel: Panel, *, theme: Theme, axis: str) -> None:
    labels = sorted({point.labels for line in panel.lines for point in line.points})
    for line in panel.lines:
        _draw_line(axes, line, theme)
    _frame(axes, panel, labels, theme=theme, logarithmic=bool(labels) and use_logarithmic(labels, axis))
    if panel.full:
        _draw_full(axes, panel, theme)
    _name_lines(axes, panel.lines, theme)


def _draw_line(axes: Axes, line: Line, theme: Theme) -> None:
    colour = arm_colours(line.position)[theme.dark]
    marker = _MARKERS[line.position % len(_MARKERS)]
    xs = [point.labels for point in line.points]
    means = [point.value.mean for point in line.points]
    bands = [point for point in line.points if point.value.half is not None]
    if len(line.points) == 1 and bands:
        axes.errorbar(xs, means, yerr=[bands[0].value.half or 0.0], color=colour, capsize=3, lw=1.2)
    axes.fill_between([p.labels for p in bands], [p.value.low for p in bands], [p.value.high for p in bands], color=colour, alpha=0.16, lw=0)
    axes.plot(xs, means, color=colour, lw=1.9, zorder=3, solid_capstyle="round")
    for whole, fill in ((True, colour), (False, theme.background)):
        part = [point for point in line.points if point.whole == whole]
        axes.plot([p.labels for p in part], [p.value.mean for p in part], marker, color=colour, mfc=fill, ms=4.6, mew=1.3, zorder=4)


def _frame(axes: Axes, panel: Panel, labels: Sequence[int], *, theme: Theme, logarithmic: bool) -> None:
    axes.set_facecolor(theme.background)
    axes.set_title(panel.title, loc="left", fontsize=9.5, color=theme.ink, pad=10, parse_math=False)
    axes.set_xlabel("labels bought" + (" (logarithmic)" if logarithmic else ""), fontsize=8.5, color=theme.quiet)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.quiet)
    axes.tick_params(colors=theme.quiet, labelsize=8, length=3, width=0.8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=theme.grid, lw=0.8)
    axes.set_axisbelow(True)
    if logarithmic:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(thin_ticks(labels, logarithmic=logarithmic)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f}"))


def _limits(panels: Sequence[Panel]) -> tuple[float, float] | None:
    values = [point.value for panel in panels for line in panel.lines for point in line.points] + [panel.full[1] for panel in panels if panel.full]
    ends = [end for value in values for end in (value.low, value.high)]
    if not ends:
        return None
    ends += [share * panel.full[1].mean for panel in panels if panel.full for share in panel.shares]
    room = 0.06 * (max(ends) - min(ends)) or 0.02
    return min(ends) - room, max(ends) + 1.6 * room


def thin_ticks(labels: Sequence[int], *, logarithmic: bool, most: int = 7) -> list[int]:
    """Numbers of labels that get a tick: the first, the last, and those between that do not crowd.

    >>> thin_ticks([50, 100, 150, 200, 250, 300, 350, 400, 450, 500], logarithmic=False, most=5)
    [50, 200, 300, 400, 500]
    """
    if not labels:
        return []
    place = (lambda value: math.log(max(value, 1))) if logarithmic else float
    distance = (place(labels[-1]) - place(labels[0])) / most
    kept = [labels[-1]]
    for value in reversed(labels[:-1]):
        if place(kept[-1]) - place(value) >= distance and (value == labels[0] or place(value) - place(labels[0]) >= distance):
            kept.append(value)
    return kept[::-1]


def _draw_full(axes: Axes, panel: Panel, theme: Theme) -> None:
    if panel.full is None:
        return
    labels, value = panel.full
    if value.half is not None:
        axes.axhspan(value.low, value.high, color=theme.ink, alpha=0.06, lw=0)
    axes.axhline(value.mean, color=theme.ink, lw=1.1, ls=(0, (5, 3)))
    _note(axes, value.mean, f"all {labels:,} labels: {value.mean:.3f}", colour=theme.ink, theme=theme)
    for share in panel.shares:
        axes.axhline(share * value.mean, color=theme.quiet, lw=0.8, ls=(0, (1, 3)))
        _note(axes, share * value.mean, f"{100 * share:.0f} % of it", colour=theme.quiet, theme=theme)


def _note(axes: Axes, height: float, text: str, *, colour: str, theme: Theme) -> None:
    outline = [withStroke(linewidth=2.5, foreground=theme.background)]
    axes.annotate(
        text,
        (0.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(2, 2.5),
        textcoords="offset points",
        fontsize=7.5,
        color=colour,
        va="bottom",
        zorder=5,
        path_effects=outline,
        parse_math=False,
    )


def _name_lines(axes: Axes, lines: Sequence[Line], theme: Theme) -> None:
    lines = [line for line in lines if line.points]
    low, high = axes.get_ylim()
    inches = axes.get_position().height * axes.figure.get_figheight()  # type: ignore[union-attr]
    ends = [line.points[-1] for line in lines]
    heights = spread([end.value.mean for end in ends], (high - low) * 0.16 / inches)
    right = max((end.labels for end in ends), default=0)
    for line, end, height in zip(lines, ends, heights, strict=True):
        text = f"{line.arm}  {end.value.mean:.3f}" if end.labels == right else line.arm
        axes.annotate(
            text,
            (right, height),
            xytext=(8, 0),
            textcoords="offset points",
            color=arm_colours(line.position)[theme.dark],
            fontsize=8.5,
            va="center",
            annotation_clip=False,
            parse_math=False,
        )


def figure_files(experiment_figures: Mapping[str, Sequence[Panel]], *, axis: str) -> dict[str, dict[str, bytes]]:
    """Every figure in four forms: `light`, `dark`, `light-narrow`, `dark-narrow`."""
    return {
        name: {
            f"{'dark' if theme.dark else 'light'}{'-narrow' if narrow else ''}": draw_curves(panels, theme=theme, narrow=narrow, axis=axis)
            for theme in (LIGHT, DARK)
            for narrow in (False, True)
        }
        for name, panels in experiment_figures.items()
    }
