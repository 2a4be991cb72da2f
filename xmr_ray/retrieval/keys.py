"""Ranking by sorting packed 64-bit keys, a few queries at a time so that keys stay in the processor's cache.

A key holds, from the highest bit down, the order-reversing image of the float32 similarity (32 bits), the position of the item in the order of
ids (31 bits), and its relevance (1 bit). Keys sort in place as plain integers: no index array, no gather, and ties go to the lower `pair_id`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.retrieval.relevance import Words, discounts
from xmr_ray.types import Floats, Ids

RECALL_AT = (1, 5, 10)
NDCG_AT = (10, 50)
CUT = 50
_KEYS_AT_ONCE = 1 << 17
_NEVER = np.uint64(0xFFFFFFFFFFFFFFFE)
_ONE = np.uint64(1)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class RankedRows:
    """What some queries found: average precisions, own-pair hits at `RECALL_AT`, gain at `NDCG_AT` (not yet divided by the best)."""

    num_relevant_R: NDArray[np.int64]
    precision_all_R: NDArray[np.float64]
    precision_50_R: NDArray[np.float64]
    precision_r_R: NDArray[np.float64]
    own_found_RK: NDArray[np.bool_]
    gain_RK: NDArray[np.float64]


class KeyRanker:
    """A gallery's labels in the order of ids, and the buffers in which its keys are packed and sorted."""

    def __init__(self, words_GW: Words) -> None:
        num_items = len(words_GW)
        self.rows_at_once = max(1, _KEYS_AT_ONCE // num_items)
        self._words_WG = narrow_words(np.ascontiguousarray(words_GW.T))
        self._positions_G = np.arange(num_items, dtype=np.uint64) << _ONE
        self._inverse_rank = np.tile(1.0 / np.arange(1.0, num_items + 1), self.rows_at_once)
        self._ramp = np.arange(1.0, self.rows_at_once * num_items + 1)
        self._keys_RG = np.empty((self.rows_at_once, num_items), np.uint64)
        self._spare_RG = np.empty((self.rows_at_once, num_items), np.uint64)

    def rank(self, similarities_RG: Floats, words_RW: Words, own_R: Ids, *, exclude_self: bool) -> RankedRows:
        """Results of at most `rows_at_once` queries; `own_R` is the position of a query's own pair, or -1. Overwrites `similarities_RG`."""
        keys_RG = self.pack(similarities_RG, words_RW)
        known = np.flatnonzero(own_R >= 0)
        own_keys = keys_RG[known, own_R[known]]
        if exclude_self:
            keys_RG[known, own_R[known]] = _NEVER
            known, own_keys = known[:0], own_keys[:0]
        keys_RG.sort(axis=1)
        own_found_RK = np.zeros((len(keys_RG), len(RECALL_AT)), np.bool_)
        for column, k in enumerate(RECALL_AT):
            own_found_RK[known, column] = own_keys <= keys_RG[known, min(k, keys_RG.shape[1]) - 1]
        counts_R, all_R, within_50_R, within_r_R = self._precisions(keys_RG)
        return RankedRows(counts_R, all_R, within_50_R, within_r_R, own_found_RK, self._gain(keys_RG[:, : max(NDCG_AT)], words_RW))

    def pack(self, similarities_RG: Floats, words_RW: Words) -> Words:
        """Keys (R, G) whose ascending order is descending similarity, then ascending position; the lowest bit is the relevance.

        >>> ranker = KeyRanker(np.array([[1], [1], [0], [1]], np.uint64))
        >>> keys = ranker.pack(np.array([[-0.5, 0.25, -0.0, 0.0]], np.float32), np.array([[1]], np.uint64))
        >>> np.argsort(keys[0]).tolist(), (keys & np.uint64(1)).tolist()
        ([1, 2, 3, 0], [[1, 1, 0, 1]])
        """
        keys_RG, spare_RG = self._keys_RG[: len(similarities_RG)], self._spare_RG[: len(similarities_RG)]
        # Adding 0 turns -0 into 0: the two are equal and have different bits.
        bits_RG = np.add(similarities_RG, np.float32(0), out=similarities_RG).view(np.int32)
        flip_RG = spare_RG.reshape(-1).view(np.int32)[: bits_RG.size].reshape(bits_RG.shape)
        np.invert(bits_RG, out=flip_RG)
        np.right_shift(flip_RG, 31, out=flip_RG)
        image_RG = flip_RG.view(np.uint32)
        np.right_shift(image_RG, 1, out=image_RG)
        np.bitwise_xor(image_RG, bits_RG.view(np.uint32), out=image_RG)
        np.copyto(keys_RG, image_RG)
        np.left_shift(keys_RG, _HALF, out=keys_RG)
        np.bitwise_or(keys_RG, self._positions_G, out=keys_RG)
        words_RW = words_RW.astype(self._words_WG.dtype)
        common_RG = spare_RG.reshape(-1).view(words_RW.dtype)[: keys_RG.size].reshape(keys_RG.shape)
        np.bitwise_and(words_RW[:, 0, None], self._words_WG[0], out=common_RG)
        for word in range(1, len(self._words_WG)):
            common_RG |= words_RW[:, word, None] & self._words_WG[word]
        np.bitwise_or(keys_RG, common_RG != 0, out=keys_RG)
        return keys_RG

    def _precisions(self, keys_RG: Words) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Relevant items and average precision over all, within 50, within the number of relevant items; only hits are touched."""
        num_rows, num_items = keys_RG.shape
        hits = np.flatnonzero(np.bitwise_and(keys_RG.astype(np.uint8), 1).view(np.bool_))
        edges = np.searchsorted(hits, np.arange(num_rows + 1) * num_items)
        starts, counts_R = edges[:-1], np.diff(edges)
        precision = np.zeros(len(hits) + 1)
        np.subtract(self._ramp[: len(hits)], np.repeat(starts, counts_R), out=precision[:-1])
        precision[:-1] *= self._inverse_rank[hits]
        row_starts = np.arange(num_rows) * num_items
        ends_50 = np.searchsorted(hits, row_starts + min(CUT, num_items))
        ends_r = np.searchsorted(hits, row_starts + counts_R)
        divisor_R = np.maximum(counts_R, 1)
        return (
            counts_R,
            segment_sums(precision, starts, edges[1:]) / divisor_R,
            segment_sums(precision, starts, ends_50) / np.maximum(ends_50 - starts, 1),
            segment_sums(precision, starts, ends_r) / divisor_R,
        )

    def _gain(self, top_RK: Words, words_RW: Words) -> NDArray[np.float64]:
        """Discounted cumulative gain (R, len(NDCG_AT)) of the first items; the gain of an item is the number of labels in common."""
        items_RK = ((top_RK >> _ONE) & np.uint64(0x7FFFFFFF)).astype(np.int64)
        grades_RK = np.zeros(top_RK.shape, np.int64)
        for word, words_G in enumerate(self._words_WG):
            grades_RK += np.bitwise_count(words_RW[:, word, None] & np.take(words_G, items_RK, mode="clip"))
        grades_RK[top_RK == _NEVER] = 0
        sums_RK = (grades_RK * discounts(top_RK.shape[1])).cumsum(axis=1)
        return sums_RK[:, np.minimum(NDCG_AT, top_RK.shape[1]) - 1]


def narrow_words(words: Words) -> NDArray[Any]:
    """Words in the narrowest unsigned type that holds every bit in use; a query's other bits have nothing to meet.

    >>> narrow_words(np.array([[1, 300]], np.uint64)).dtype
    dtype('uint16')
    """
    return words.astype(np.min_scalar_type(words.max(initial=0)))


def segment_sums(values: NDArray[np.float64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of `values[start:end]`, 0 where a segment is empty; the last value belongs to no segment.

    >>> segment_sums(np.array([1.0, 2.0, 4.0, 0.0]), np.array([0, 2, 3]), np.array([2, 2, 3])).tolist()
    [3.0, 0.0, 0.0]
    """
    sums = np.add.reduceat(values, np.stack([starts, ends], axis=1).ravel())[::2]
    return np.where(ends > starts, sums, 0.0)
