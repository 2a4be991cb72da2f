"""Why a pair was bought, in words: the columns of a selection file as a sentence about its region and a short list of figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.report.headline import percent, signed
from xmr_ray.types import Selection

_HIDDEN = frozenset({"signature"})
_OF_THE_CELL = frozenset({"cell", "cell_density", "cell_share", "cell_bought", "cell_budget"})
_NAMES = {"informativeness": "informative", "centre_distance": "from centre", "density": "local density"}
_MEANINGS = {
    "utility": "what the strategy sorted by, higher first",
    "informativeness": "informativeness: the weighted mean of the parts, each in standard deviations from the pool's mean: 0 is an average pair",
    "intra": "how widely the places of image and text spread, the logarithm of their mean total variance",
    "inter": "how little image and text of the pair match",
    "class": "how uncertain the predicted labels are",
    "entropy": "how uncertain the predicted labels are",
    "margin": "how close the predicted labels are to a decision, 0 is a tie",
    "least_confidence": "what the most likely labels lack to certainty",
    "cell": "a region of the space of pairs; its share of all pairs is its density, and purchases are split over regions",
    "centre_distance": "how far the pair lies from the middle of its cell",
    "density": "how close its nearest neighbours are, higher is denser",
}
_ORDER = {name: place for place, name in enumerate(_MEANINGS)}


@dataclass(frozen=True)
class Why:
    """Reasons of one pair: a sentence about its cell, empty where the strategy knows none, and figures by name."""

    sentence: str
    facts: tuple[tuple[str, str], ...]


def explain(selection: Selection) -> Callable[[int], Why]:
    """The reasons of each row of a selection, for whatever columns it has."""
    columns = _shown(selection)
    about_cell = "cell" in columns and "cell_density" in columns
    listed = {name: values for name, values in columns.items() if not (about_cell and name in _OF_THE_CELL)}

    def of_row(row: int) -> Why:
        facts = tuple((_NAMES.get(name, name.replace("_", " ")), _figure(name, values, row)) for name, values in listed.items())
        return Why(_cell_sentence({name: float(columns[name][row]) for name in _OF_THE_CELL if name in columns}) if about_cell else "", facts)

    return of_row


def meanings(selections: Sequence[Selection]) -> list[tuple[str, str]]:
    """A line for every known column that one of the selections shows, in a fixed order."""
    shown = {name for selection in selections for name in _shown(selection)}
    return [(_NAMES.get(name, name.replace("_", " ")), text) for name, text in _MEANINGS.items() if name in shown]


def _shown(selection: Selection) -> dict[str, NDArray[Any]]:
    """Columns worth showing, known ones first; a utility that only repeats another column (or its negative) is not."""
    reasons = {name: values for name, values in selection.reasons.items() if name not in _HIDDEN}
    repeats = any(np.array_equal(selection.utility_n, sign * values) for values in reasons.values() for sign in (1, -1))
    columns = reasons if repeats else {"utility": selection.utility_n, **reasons}
    return {name: columns[name] for name in sorted(columns, key=lambda name: _ORDER.get(name, len(_ORDER)))}


def _cell_sentence(cell: Mapping[str, float]) -> str:
    text = f"Cell {cell['cell']:.0f} holds {_share(cell['cell_density'])} of all pairs"
    if "cell_share" in cell:
        text += f" and should hold {_share(cell['cell_share'])} of the labels"
    counts = [f"{cell[name]:.0f} {when}" for name, when in (("cell_bought", "before"), ("cell_budget", "now")) if name in cell]
    return f"{text}; bought there: {', '.join(counts)}." if counts else f"{text}."


def _share(value: float) -> str:
    return percent(value, 1) if value >= 0.001 else f"{100 * value:.1g} %"


def _figure(name: str, values: NDArray[Any], row: int) -> str:
    return signed(float(values[row]), 2) if name == "informativeness" else plain_number(values, row)


def plain_number(values: NDArray[Any], row: int) -> str:
    """One number of a column: without decimals if the whole column has none, else with three digits; rounding's dust is 0.

    >>> plain_number(np.array([3.0, 4.0]), 0), plain_number(np.array([0.9, 4.0]), 1), plain_number(np.array([-1234.5]), 0)
    ('3', '4.00', '−1,234')
    >>> plain_number(np.array([2e-9, 0.5]), 0)
    '0'
    """
    number = float(values[row])
    whole = bool(np.all(values == np.round(values))) or abs(number) < 1e-6 * float(np.abs(values).max())
    text = f"{abs(number):,.0f}" if whole or abs(number) >= 1000 else f"{abs(number):#.3g}"
    return f"−{text}" if number < 0 else text
