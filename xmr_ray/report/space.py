"""Pictures of the fused space: the pool in grey, what was bought by round in colour, the latest purchase on top."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xmr_ray import storage
from xmr_ray.report.diagnostics import described_rounds
from xmr_ray.report.experiment import Run
from xmr_ray.report.figures import DARK, LIGHT, Theme
from xmr_ray.runs.directory import read_json

_POOL = -1
_LATEST = ("#d1490c", "#ff8552")
_GREY = ("#b4bac3", "#505863")
_MOST_NAMED = 8
_LEGEND_COLUMNS = 5
# Inches.
_SIDE, _LEFT, _RIGHT, _ABOVE, _BELOW, _LEGEND_ROW = 4.3, 0.3, 0.1, 0.34, 0.36, 0.19


@dataclass(frozen=True)
class Space:
    """One run's latest described purchase: coordinates of pairs and the round in which each was bought, -1 for the pool."""

    arm: str
    seed: int
    round_index: int
    variance_shown: float | None
    has_heads: bool
    xy_K2: NDArray[np.float64]
    round_K: NDArray[np.int64]

    @property
    def name(self) -> str:
        """The run's name."""
        return f"{self.arm}-s{self.seed}"


def read_space(run: Run) -> Space | None:
    """The space of the last round that has a picture, None where none has."""
    places = [place for place in described_rounds(run) if storage.exists(place.space)]
    if not places:
        return None
    table = storage.read_table(places[-1].space, ["x", "y", "round"])
    numbers = read_json(places[-1].diagnostics) or {}
    xy_K2 = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    has_heads = numbers.get("space", "fused") == "fused"
    return Space(run.arm, run.seed, places[-1].index, numbers.get("variance_shown"), has_heads, xy_K2, table["round"].to_numpy())


def round_colours(rounds: Sequence[int], *, dark: bool) -> list[str]:
    """A colour for each round in order; the latest stands apart from those before it.

    >>> round_colours([0], dark=False)
    ['#d1490c']
    """
    earlier = np.linspace(*((0.4, 0.88) if dark else (0.78, 0.12)), max(len(rounds) - 1, 0))
    return [to_hex(colormaps["viridis"](share)) for share in earlier] + [_LATEST[dark]] * bool(rounds)


def named_rounds(rounds: Sequence[int]) -> list[int]:
    """Rounds that the legend names: all, or the first, the last, and some evenly between.

    >>> named_rounds(list(range(15)))
    [0, 2, 4, 6, 8, 10, 12, 14]
    """
    if len(rounds) <= _MOST_NAMED:
        return list(rounds)
    return [rounds[place] for place in np.linspace(0, len(rounds) - 1, _MOST_NAMED).round().astype(int)]


def draw_space(space: Space, *, theme: Theme) -> bytes:
    """The picture as PNG, with its legend below; one unit is as long along both axes."""
    rounds = sorted(set(space.round_K.tolist()) - {_POOL})
    num_rows = -(-(1 + len(named_rounds(rounds))) // _LEGEND_COLUMNS)
    tall = _SIDE * _shape(space)
    below = _BELOW + num_rows * _LEGEND_ROW
    width, height = _LEFT + _SIDE + _RIGHT, below + tall + _ABOVE
    figure = Figure(figsize=(width, height), dpi=200, facecolor=theme.background)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((_LEFT / width, below / height, _SIDE / width, tall / height))
    _draw_points(axes, space, rounds, theme)
    _frame(axes, space, theme)
    _name_rounds(axes, theme, lift=(below - num_rows * _LEGEND_ROW - 0.06) / tall)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=theme.background, metadata={"Software": None})
    return buffer.getvalue()


def _shape(space: Space) -> float:
    """Height of the frame over its width, within what looks well."""
    wide, tall = np.ptp(space.xy_K2, axis=0) if len(space.xy_K2) else (1.0, 1.0)
    return float(np.clip(tall / wide if wide > 0 else 1.0, 0.55, 1.0))


def _draw_points(axes: Axes, space: Space, rounds: Sequence[int], theme: Theme) -> None:
    num_bought = int((space.round_K != _POOL).sum())
    size = float(np.clip(20 * math.sqrt(150 / max(num_bought, 1)), 7, 20))
    pool_X2 = space.xy_K2[space.round_K == _POOL]
    axes.scatter(pool_X2[:, 0], pool_X2[:, 1], s=4, color=_GREY[theme.dark], lw=0, label="pool")
    for index, colour in zip(rounds, round_colours(rounds, dark=theme.dark), strict=True):
        latest = index == rounds[-1]
        label = f"round {index}" if index in named_rounds(rounds) else f"_{index}"
        x, y = space.xy_K2[space.round_K == index].T
        axes.scatter(x, y, s=size * (1.3 if latest else 1), color=colour, edgecolor=theme.background, lw=0.3, label=label, zorder=3 + latest)


def _frame(axes: Axes, space: Space, theme: Theme) -> None:
    axes.set_facecolor(theme.background)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(f"{space.name}, round {space.round_index}", loc="left", fontsize=9.5, color=theme.ink, pad=7, parse_math=False)
    axes.set_xlabel("principal axis 1 of the fused space", fontsize=8, color=theme.quiet)
    axes.set_ylabel("principal axis 2 of the fused space", fontsize=8, color=theme.quiet)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(theme.grid)


def _name_rounds(axes: Axes, theme: Theme, *, lift: float) -> None:
    handles, labels = axes.get_legend_handles_labels()
    entries = list(zip(handles, labels, strict=True))
    by_row = [entry for column in range(_LEGEND_COLUMNS) for entry in entries[column::_LEGEND_COLUMNS]]  # matplotlib fills columns first
    legend = axes.legend(
        [handle for handle, _ in by_row],
        [label for _, label in by_row],
        loc="upper left",
        bbox_to_anchor=(0, -lift),
        ncols=_LEGEND_COLUMNS,
        fontsize=8,
        frameon=False,
        labelcolor=theme.ink,
        handletextpad=0.1,
        columnspacing=1.0,
        borderpad=0,
        borderaxespad=0,
        labelspacing=0.35,
    )
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([22])


def space_files(spaces: Sequence[Space]) -> dict[str, dict[str, bytes]]:
    """Every picture in two forms, `light` and `dark`, under the name of its file."""
    return {f"space_{space.name}": {"light": draw_space(space, theme=LIGHT), "dark": draw_space(space, theme=DARK)} for space in spaces}
