"""How a purchase by regions lies among all train pairs, in the fused space: numbers for every round, and a picture.

`Pool` here is what is left of it after the purchase, so that no pair stands on both sides of a comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.geometry.distances import squared_distances
from xmr_ray.geometry.hashing import hash_sample
from xmr_ray.geometry.projection import scale_to_unit
from xmr_ray.geometry.threads import one_thread
from xmr_ray.types import Floats, Ids

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
SAMPLE = 2_000
POOL = -1


@dataclass(frozen=True)
class DrawnIds:
    """Ids that are looked at closely, each group ascending: of the pool, of what is bought with this purchase, and of this purchase alone."""

    pool_X: Ids
    held_H: Ids
    batch_n: Ids

    @property
    def together(self) -> Ids:
        """Every drawn id once, ascending."""
        return np.union1d(np.union1d(self.pool_X, self.held_H), self.batch_n)


@dataclass(frozen=True)
class Sample:
    """What is known of the drawn pairs, ascending by id: points, stage 1's probabilities, and parts of informativeness by name.

    `image_share_K` is the image's share of the variance inside the modalities, None where no Gaussian heads told it.
    """

    pair_ids_K: Ids
    points_KD: Floats
    probabilities_KC: Floats
    parts: Mapping[str, Doubles]
    image_share_K: Doubles | None = None

    def rows(self, pair_ids: Ids) -> Ints:
        """Rows of these ids, all of which were drawn."""
        return np.searchsorted(self.pair_ids_K, pair_ids)


@dataclass(frozen=True)
class CellCounts:
    """Pairs by cell (M,): of the train split, of what was bought before, of this purchase."""

    train_M: Ints
    bought_M: Ints
    batch_M: Ints


@dataclass(frozen=True)
class Picture:
    """Coordinates of the drawn pairs on the two principal axes of the pool; `round_K` is the round in which a pair was bought, -1 for the pool.

    `variance_shown` is the share of the pool's variance along both axes.
    """

    pair_ids_K: Ids
    x_K: Doubles
    y_K: Doubles
    round_K: Ints
    variance_shown: float


def draw_ids(pair_ids_N: Ids, *, bought: Ids, batch: Ids, seed: int, round_index: int, size: int = SAMPLE) -> DrawnIds:
    """At most `size` ids of each group, chosen by hash.

    >>> drawn = draw_ids(np.arange(9), bought=np.array([4]), batch=np.array([7, 2]), seed=0, round_index=1)
    >>> drawn.pool_X.tolist(), drawn.held_H.tolist(), drawn.batch_n.tolist()
    ([0, 1, 3, 5, 6, 8], [2, 4, 7], [2, 7])
    """
    held = np.concatenate([bought, batch])
    groups = (pair_ids_N[~np.isin(pair_ids_N, held)], held, batch)
    return DrawnIds(*(hash_sample(ids, size=size, seed=seed, round_index=round_index, purpose="diagnostics") for ids in groups))


def count_cells(pair_ids_N: Ids, cells_N: NDArray[Any], *, bought: Ids, batch: Ids) -> CellCounts:
    """Pairs by cell, from the cell of every train pair."""
    cells_N = cells_N.astype(np.int64)
    num_cells = int(cells_N.max(initial=-1)) + 1
    bought_N, batch_N = np.isin(pair_ids_N, bought), np.isin(pair_ids_N, batch)
    return CellCounts(*(np.bincount(cells, minlength=num_cells).astype(np.int64) for cells in (cells_N, cells_N[bought_N], cells_N[batch_N])))


def describe(drawn: DrawnIds, sample: Sample, counts: CellCounts, *, labels_C: Ints, weights: Mapping[str, float] | None = None) -> dict[str, float]:
    """The numbers of one purchase; one that is not defined (an empty pool, a single pair, no label yet) is left out.

    Args:
        drawn: which pairs of the sample are pool, bought, and batch.
        sample: what is known of them.
        counts: pairs by cell.
        labels_C: how often each class was among the labels bought before.
        weights: of the parts of informativeness; equal if None.

    Returns:
        `kl`, `cells_touched`, `num_cells` (cells that hold a train pair), `density_ratio`: see the functions of these names.
        `mmd_squared` of everything bought against the pool, the kernel as wide as the pool's median distance.
        `mean_cosine` within the batch and `pool_cosine` within the pool's sample.
        `label_distance` of the labels bought before from what is predicted of the pool.
        For each part `share_<part>` and `z_<part>`, see `part_shares`; `image_share` of the batch and `pool_image_share` are the image's mean
        share of the variance inside the modalities, the text's is the rest to 1.
    """
    pool_XD, held_HD, batch_nD = (sample.points_KD[sample.rows(ids)] for ids in (drawn.pool_X, drawn.held_H, drawn.batch_n))
    found = {
        "kl": kl_divergence(counts.bought_M + counts.batch_M, counts.train_M),
        "cells_touched": float(np.count_nonzero(counts.batch_M)),
        "num_cells": float(np.count_nonzero(counts.train_M)),
        "density_ratio": density_ratio(counts),
        "mmd_squared": mmd_squared(held_HD, pool_XD),
        "mean_cosine": mean_cosine(batch_nD),
        "pool_cosine": mean_cosine(pool_XD),
        "label_distance": label_distance(labels_C, sample.probabilities_KC[sample.rows(drawn.pool_X)]),
        "image_share": _mean_share(sample, drawn.batch_n),
        "pool_image_share": _mean_share(sample, drawn.pool_X),
    }
    batch = {name: values[sample.rows(drawn.batch_n)] for name, values in sample.parts.items()}
    pool = {name: values[sample.rows(drawn.pool_X)] for name, values in sample.parts.items()}
    return {name: value for name, value in found.items() if value is not None} | part_shares(batch, pool, weights=weights)


def _mean_share(sample: Sample, pair_ids: Ids) -> float | None:
    return None if sample.image_share_K is None or not len(pair_ids) else float(sample.image_share_K[sample.rows(pair_ids)].mean())


def kl_divergence(some_M: Ints, all_M: Ints) -> float | None:
    """KL(p || pi) in nats over cells, sum of p log(p / pi) where p > 0, without smoothing: every pair of `some_M` is among `all_M`.

    It is 0 for proportional shares. Few pairs cannot be proportional: it falls with their number, whatever chooses them.

    >>> round(kl_divergence(np.array([1, 0]), np.array([5, 5])), 6) == round(float(np.log(2)), 6)
    True
    """
    if some_M.sum() == 0:
        return None
    held_M = some_M > 0
    p_M, pi_M = some_M[held_M] / some_M.sum(), all_M[held_M] / all_M.sum()
    return float(p_M @ np.log(p_M / pi_M))


def density_ratio(counts: CellCounts) -> float | None:
    """Mean share pi of the batch's cells over the mean share of the pool's: 1 for a batch from regions as dense as the pool's.

    >>> density_ratio(CellCounts(np.array([6, 2]), np.array([0, 0]), np.array([0, 1])))
    0.3684210526315789
    """
    rest_M = counts.train_M - counts.bought_M - counts.batch_M
    if counts.batch_M.sum() == 0 or rest_M.sum() == 0:
        return None
    return float((counts.batch_M @ counts.train_M / counts.batch_M.sum()) / (rest_M @ counts.train_M / rest_M.sum()))


def mmd_squared(left_AD: Floats, right_BD: Floats) -> float | None:
    """Unbiased estimate of the squared maximum mean discrepancy [MMD, eq. 3] with the kernel exp(-r^2 / (2 s^2)).

    s is the median distance of two different points of the right side. Unbiased, so it does not fall with the number of points alone,
    and it may be slightly negative for samples of one distribution.
    """
    if len(left_AD) < 2 or len(right_BD) < 2:
        return None
    middle_D = right_BD.mean(axis=0)
    left, right = left_AD - middle_D, right_BD - middle_D
    with one_thread():
        inside_AA, inside_BB, between_AB = squared_distances(left, left), squared_distances(right, right), squared_distances(left, right)
    width = float(np.median(inside_BB[np.triu_indices(len(right), 1)]))
    if width == 0:
        return None
    means = [_off_diagonal_mean(np.exp(squares / (-2 * width), dtype=np.float64)) for squares in (inside_AA, inside_BB)]
    return means[0] + means[1] - 2 * float(np.exp(between_AB / (-2 * width), dtype=np.float64).mean())


def _off_diagonal_mean(kernel_AA: Doubles) -> float:
    count = len(kernel_AA)
    return float((kernel_AA.sum() - np.trace(kernel_AA)) / (count * (count - 1)))


def mean_cosine(points_KD: Floats) -> float | None:
    """Mean cosine of two different points, from the length of their sum; None for fewer than two.

    >>> mean_cosine(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 5.0]], dtype=np.float32))
    0.3333333333333333
    """
    count = len(points_KD)
    if count < 2:
        return None
    unit_KD = scale_to_unit(np.asarray(points_KD, dtype=np.float32)).astype(np.float64)
    total_D = unit_KD.sum(axis=0)
    return float((total_D @ total_D - np.square(unit_KD).sum()) / (count * (count - 1)))


def label_distance(labels_C: Ints, probabilities_XC: Floats) -> float | None:
    """Total variation between shares of the bought labels and of the pool's mean predicted probabilities, from 0 (alike) to 1.

    >>> label_distance(np.array([3, 1]), np.array([[0.5, 0.5]], dtype=np.float32))
    0.25
    """
    predicted_C = probabilities_XC.astype(np.float64).sum(axis=0)
    if labels_C.sum() == 0 or predicted_C.sum() == 0:
        return None
    return float(np.abs(labels_C / labels_C.sum() - predicted_C / predicted_C.sum()).sum() / 2)


def part_shares(batch: Mapping[str, Doubles], pool: Mapping[str, Doubles], *, weights: Mapping[str, float] | None = None) -> dict[str, float]:
    """What the parts of informativeness had to say about a batch, each z-scored by mean and standard deviation of the pool's sample.

    `z_<part>`: mean z-score of the batch, how far the part lies above the pool. `share_<part>`: its share of the sum of |weight z| over
    parts and batch, so the shares add up to 1. A part of weight 0, and one that is the same everywhere in the pool, is left out.
    """
    names = [name for name in batch if len(batch[name]) and len(pool[name]) and np.ptp(pool[name]) > 0 and (weights is None or weights.get(name, 0))]
    scores = {name: (batch[name] - pool[name].mean()) / pool[name].std() for name in names}
    amounts = {name: (1.0 if weights is None else weights[name]) * float(np.abs(scores[name]).sum()) for name in names}
    total = sum(amounts.values())
    found = {f"z_{name}": float(scores[name].mean()) for name in names}
    return found | ({f"share_{name}": amounts[name] / total for name in names} if total else {})


def draw_picture(drawn: DrawnIds, sample: Sample, *, rounds: Mapping[int, Ids]) -> Picture:
    """The drawn pairs on the pool's two principal axes; `rounds` gives the ids bought in each round, this one included.

    Axes are fitted to the pool's sample (to everything where that has fewer than 3 pairs). Of the two directions of an axis that one is
    taken in which its largest loading is positive, so the same points give the same picture.
    """
    points_KD = sample.points_KD.astype(np.float64)
    fitted = points_KD[sample.rows(drawn.pool_X)] if len(drawn.pool_X) >= 3 else points_KD
    middle_D = fitted.mean(axis=0)
    axes_D2, variance_shown = principal_axes(fitted - middle_D)
    xy_K2 = (points_KD - middle_D) @ axes_D2
    round_K = np.full(len(points_KD), POOL, np.int64)
    for index, ids in rounds.items():
        round_K[np.isin(sample.pair_ids_K, ids)] = index
    return Picture(sample.pair_ids_K, xy_K2[:, 0], xy_K2[:, 1], round_K, variance_shown)


def principal_axes(centred_XD: Doubles) -> tuple[Doubles, float]:
    """Two directions of largest variance (D, 2), the second 0 in one dimension, and the share of the variance that they hold.

    >>> axes, share = principal_axes(np.array([[0.0, 3.0], [0.0, -3.0], [1.0, 0.0], [-1.0, 0.0]]))
    >>> axes.tolist(), share
    ([[0.0, 1.0], [1.0, 0.0]], 1.0)
    """
    with one_thread():
        variances_D, vectors_DD = np.linalg.eigh(centred_XD.T @ centred_XD)
    axes_D2 = np.zeros((len(variances_D), 2))
    count = min(2, len(variances_D))
    axes_D2[:, :count] = vectors_DD[:, ::-1][:, :count]
    largest = axes_D2[np.abs(axes_D2).argmax(axis=0), np.arange(2)]
    total = float(variances_D.sum())
    shown = float(variances_D[::-1][:count].sum()) / total if total > 0 else 1.0
    return axes_D2 * np.where(largest < 0, -1.0, 1.0), shown
