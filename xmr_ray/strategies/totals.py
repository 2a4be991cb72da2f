"""Totals of many pairs that do not depend on how the pairs are cut into blocks: exact sums, counted keys, ranks.

Floating sums are not associative, so values are added as fixed-point numbers: four limbs of 32 bits each, of weights 2^32, 1, 2^-32 and
2^-64, in int64 columns. Up to 2^31 values add up without overflow, to a resolution of 2^-64 each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import StrategyError

Ints = NDArray[np.int64]
NUM_LIMBS = 4
_BITS = 32
_UNIT_BITS = 2 * _BITS
_RANK_SHIFT = 40


def fixed_point(values_B: NDArray[Any]) -> Ints:
    """Values as limbs (B, 4), highest first, each with the sign of the value; digits below 2^-64 are cut off.

    Raises `StrategyError` for a value of 2^64 or more.

    >>> fixed_point(np.array([1.5, -3.0 * 2**32])).tolist()
    [[0, 1, 2147483648, 0], [-3, 0, 0, 0]]
    """
    rest_B = np.asarray(values_B, dtype=np.float64) / 2.0**_BITS
    if len(rest_B) and np.abs(rest_B).max() >= 2.0**_BITS:
        raise StrategyError(f"exact sum: {np.abs(values_B).max():.3g} is too large; expected scores (and their squares) below {2.0**64:.3g}")
    limbs_B4 = np.empty((len(rest_B), NUM_LIMBS), np.int64)
    for limb in range(NUM_LIMBS):
        whole_B = np.trunc(rest_B)
        limbs_B4[:, limb] = whole_B
        rest_B = (rest_B - whole_B) * 2.0**_BITS
    return limbs_B4


def sum_by_cell(values_B: NDArray[Any], cells_B: Ints, *, num_cells: int) -> Ints:
    """Exact sum of the values of each cell, as limbs (M, 4)."""
    sums_M4 = np.zeros((num_cells, NUM_LIMBS), np.int64)
    np.add.at(sums_M4, cells_B, fixed_point(values_B))
    return sums_M4


def mean_of(limbs_4: Ints, count: int) -> float:
    """A sum divided by the number of its terms, rounded once; 0 for no terms.

    >>> mean_of(fixed_point(np.array([0.5, 0.25])).sum(axis=0), 2)
    0.375
    """
    return _units(limbs_4) / (count << _UNIT_BITS) if count else 0.0


def spread_of(sum_4: Ints, squares_4: Ints, count: int) -> float:
    """Standard deviation (divided by the number of terms) from sums of values and of squares; a spread that is lost in rounding is 0.

    >>> limbs = lambda *values: fixed_point(np.array(values)).sum(axis=0)
    >>> spread_of(limbs(1.0, 5.0), limbs(1.0, 25.0), 2), spread_of(limbs(0.1, 0.1), limbs(0.1**2, 0.1**2), 2)
    (2.0, 0.0)
    """
    if count == 0:
        return 0.0
    total, squares = _units(sum_4), _units(squares_4)
    variance = ((squares * count << _UNIT_BITS) - total**2) / (count**2 << 2 * _UNIT_BITS)
    # Each square was rounded to 53 bits.
    lost = 2.0**-50 * (squares / (count << _UNIT_BITS)) + 2.0**-62
    return float(np.sqrt(variance)) if variance > lost else 0.0


def count_keys(keys_B: Ints) -> Ints:
    """The distinct keys, ascending, and how often each occurs: (G, 2).

    >>> count_keys(np.array([7, 2, 7])).tolist()
    [[2, 1], [7, 2]]
    """
    return np.stack(np.unique(keys_B, return_counts=True), axis=1).astype(np.int64)


def merge_counts(parts: Sequence[Ints]) -> Ints:
    """Several counts of keys as one (G, 2)."""
    joined_G2 = np.concatenate([np.empty((0, 2), np.int64), *parts])
    keys_G, back = np.unique(joined_G2[:, 0], return_inverse=True)
    counts_G = np.zeros(len(keys_G), np.int64)
    np.add.at(counts_G, back, joined_G2[:, 1])
    return np.stack([keys_G, counts_G], axis=1)


def count_of(counted_G2: Ints, keys_B: Ints) -> Ints:
    """How often each key was counted (B,), 0 for one that was not."""
    if len(counted_G2) == 0:
        return np.zeros(len(keys_B), np.int64)
    at_B = np.minimum(np.searchsorted(counted_G2[:, 0], keys_B), len(counted_G2) - 1)
    return np.where(counted_G2[at_B, 0] == keys_B, counted_G2[at_B, 1], 0)


def rank_keys(values_B: NDArray[Any]) -> Ints:
    """Integers in the order of the values; values that agree in sign, exponent and 12 further bits share one (a bin of 1/4096 of the value)."""
    bits_B = (np.asarray(values_B, dtype=np.float64) + 0.0).view(np.int64)
    return np.where(bits_B < 0, bits_B ^ np.int64(2**63 - 1), bits_B) >> _RANK_SHIFT


def rank_of(counted_G2: Ints, keys_B: Ints) -> NDArray[np.float64]:
    """Share of the counted values that lie below each key's bin, half of the bin included: from 0 to 1 (B,).

    >>> rank_of(count_keys(np.array([1, 4, 4, 9])), np.array([1, 4, 9])).tolist()
    [0.125, 0.5, 0.875]
    """
    ends_G = np.concatenate([[0], np.cumsum(counted_G2[:, 1])])
    at_B = np.searchsorted(counted_G2[:, 0], keys_B)
    return (ends_G[at_B] + 0.5 * count_of(counted_G2, keys_B)) / max(int(ends_G[-1]), 1)


def _units(limbs_4: Ints) -> int:
    """The sum as a whole number of 2^-64."""
    total = 0
    for limb in limbs_4.tolist():
        total = (total << _BITS) + limb
    return total
