"""Labels as machine words: what is relevant to a query, how strongly, and the best gain that any ranking could reach."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import RetrievalError

Words = NDArray[np.uint64]
_CELLS_AT_ONCE = 1 << 17


def pack_labels(labels_NC: NDArray[Any]) -> Words:
    """Multi-hot labels (N, C) as bits of 64-bit words (N, W).

    Raises `RetrievalError` unless every entry is 0 or 1.

    >>> pack_labels(np.array([[1, 0, 1], [0, 0, 0]])).tolist()
    [[5], [0]]
    """
    labels_NC = np.asarray(labels_NC)
    if labels_NC.ndim != 2 or labels_NC.shape[1] == 0:
        raise RetrievalError(f"labels have shape {labels_NC.shape}; expected (N, C) with C at least 1")
    hot_NC = labels_NC != 0
    if not np.array_equal(hot_NC, labels_NC):
        row = int(np.flatnonzero((hot_NC != labels_NC).any(axis=1))[0])
        raise RetrievalError(f"labels of row {row} hold values other than 0 and 1; relevance needs bought or true labels, not probabilities")
    padded_NC = np.pad(hot_NC, ((0, 0), (0, -labels_NC.shape[1] % 64)))
    return np.ascontiguousarray(np.packbits(padded_NC, axis=1, bitorder="little")).view("<u8").astype(np.uint64, copy=False)


def shared_labels(left_AW: Words, right_BW: Words) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Number of labels in common (A, B)."""
    counts_AB: NDArray[np.uint8] | NDArray[np.uint16] = np.bitwise_count(left_AW[:, 0, None] & right_BW[:, 0])
    if left_AW.shape[1] > 1:
        counts_AB = counts_AB.astype(np.uint16)
    for word in range(1, left_AW.shape[1]):
        counts_AB += np.bitwise_count(left_AW[:, word, None] & right_BW[:, word])
    return counts_AB


def grade_histogram(queries_QW: Words, gallery_GW: Words) -> NDArray[np.int64]:
    """How many gallery items share exactly c labels with each query (Q, most + 1), by distinct label sets."""
    distinct_q, inverse_Q = np.unique(queries_QW, axis=0, return_inverse=True)
    distinct_g, sizes = np.unique(gallery_GW, axis=0, return_counts=True)
    # float32 counts exactly up to 2^24 items and is added up by BLAS.
    weights = sizes.astype(np.float32 if len(gallery_GW) < 1 << 24 else np.float64)
    num_labels = np.bitwise_count(distinct_q).sum(axis=1, dtype=np.int64)
    histogram = np.zeros((len(distinct_q), int(num_labels.max(initial=0)) + 1), np.int64)
    by_labels = np.argsort(num_labels, kind="stable")
    step = max(1, _CELLS_AT_ONCE // len(distinct_g))
    for start in range(0, len(distinct_q), step):
        rows = by_labels[start : start + step]
        counts_AU = shared_labels(distinct_q[rows], distinct_g)
        for grade in range(1, int(num_labels[rows[-1]]) + 1):
            histogram[rows, grade] = (counts_AU == grade).astype(weights.dtype) @ weights
    histogram[:, 0] = len(gallery_GW) - histogram[:, 1:].sum(axis=1)
    return histogram[inverse_Q.reshape(-1)]


def discounts(k: int) -> NDArray[np.float64]:
    """1 / log2(rank + 1) of the ranks 1 to k."""
    return 1.0 / np.log2(np.arange(k) + 2.0)


def ideal_gain(histogram_QH: NDArray[np.int64], at: Sequence[int]) -> NDArray[np.float64]:
    """Discounted cumulative gain (Q, len(at)) of the best ranking: highest grades first; gains are the grades themselves.

    >>> ideal_gain(np.array([[5, 0, 1]]), [1, 10]).tolist()
    [[2.0, 2.0]]
    """
    deepest = max(at, default=0)
    at_or_above_QH = histogram_QH[:, ::-1].cumsum(axis=1)[:, ::-1]
    cumulative = np.concatenate([[0.0], discounts(deepest).cumsum()])
    gain = np.zeros((len(histogram_QH), len(at)))
    for column, k in enumerate(at):
        # A grade g counts once for each of the thresholds 1 to g that it reaches.
        gain[:, column] = cumulative[np.minimum(at_or_above_QH[:, 1:], k)].sum(axis=1)
    return gain
