"""Exact ranking of a gallery for every query, in blocks of queries."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import RetrievalError
from xmr_ray.retrieval.keys import NDCG_AT, RECALL_AT, KeyRanker, RankedRows
from xmr_ray.retrieval.relevance import Words, grade_histogram, ideal_gain, pack_labels
from xmr_ray.retrieval.similarity import Gallery, unit_rows
from xmr_ray.types import Floats, Ids

_SIMILARITIES_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class QueryResults:
    """What each query found, in query order; parts from several processes join without a change of any bit.

    Average precision over the whole ranking, within 50, within the number of relevant items; whether the own pair is within `RECALL_AT`
    (where the gallery has it); NDCG at `NDCG_AT`. All are 0 where nothing is relevant.
    """

    query_ids_Q: Ids
    num_relevant_Q: NDArray[np.int64]
    precision_all_Q: NDArray[np.float64]
    precision_50_Q: NDArray[np.float64]
    precision_r_Q: NDArray[np.float64]
    own_found_QK: NDArray[np.bool_]
    has_own_Q: NDArray[np.bool_]
    ndcg_QK: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.query_ids_Q)


def merge_directions(parts: Sequence[QueryResults]) -> QueryResults:
    """Results of consecutive blocks of queries as one, in the order of the parts; no part at all raises `RetrievalError`."""
    if not parts:
        raise RetrievalError("merge: there are no query results; rank at least one block of queries")
    return QueryResults(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(QueryResults)))


def rank_queries(
    queries_QD: NDArray[Any],
    gallery_GD: NDArray[Any],
    *,
    query_ids: Ids,
    gallery_ids: Ids,
    query_labels_QC: NDArray[Any],
    gallery_labels_GC: NDArray[Any],
    block: int = 256,
    exclude_self: bool = False,
) -> QueryResults:
    """Average precisions, own-pair hits and NDCG of every query over the whole gallery.

    Similarity is the cosine; relevant is an item with at least one label in common; a query's own pair is the gallery item of the same id and is
    ranked like any other unless `exclude_self`. Memory grows with `block` times the gallery (fewer queries at a time in a large gallery), never
    with queries times gallery.

    Raises `RetrievalError` for repeated gallery ids, shapes that do not fit, rows of zeros and values that are not finite.
    """
    query_ids, gallery_ids = np.asarray(query_ids, dtype=np.int64), np.asarray(gallery_ids, dtype=np.int64)
    order_G = slice(None) if (gallery_ids[1:] > gallery_ids[:-1]).all() else np.argsort(gallery_ids, kind="stable")
    own_Q = _find_own(query_ids, gallery_ids[order_G])
    words_QW, words_GW = pack_labels(query_labels_QC), pack_labels(gallery_labels_GC)
    _check_shapes(np.shape(queries_QD), np.shape(gallery_GD), words_QW, words_GW)
    words_GW = words_GW[order_G]
    gallery = Gallery(unit_rows(gallery_GD, gallery_ids, what="gallery")[order_G])
    queries = _Queries(queries_QD, query_ids, words_QW, own_Q)
    step = max(1, min(block, _SIMILARITIES_AT_ONCE // len(gallery_ids)))
    ranked = _rank_blocks(queries, gallery, KeyRanker(words_GW), step=step, exclude_self=exclude_self)
    ideal_QK = ideal_gain(_histogram(words_QW, words_GW, own_Q if exclude_self else np.full_like(own_Q, -1)), NDCG_AT)
    return QueryResults(
        query_ids_Q=query_ids,
        num_relevant_Q=ranked.num_relevant_R,
        precision_all_Q=ranked.precision_all_R,
        precision_50_Q=ranked.precision_50_R,
        precision_r_Q=ranked.precision_r_R,
        own_found_QK=ranked.own_found_RK,
        has_own_Q=(own_Q >= 0) & (not exclude_self),
        ndcg_QK=np.divide(ranked.gain_RK, ideal_QK, out=np.zeros_like(ideal_QK), where=ideal_QK > 0),
    )


def _find_own(query_ids: Ids, sorted_ids_G: Ids) -> Ids:
    """Position of each query's own pair in the gallery in the order of ids, or -1."""
    if not 0 < len(sorted_ids_G) < 1 << 31:
        raise RetrievalError(f"gallery holds {len(sorted_ids_G)} items; expected 1 to 2,147,483,647")
    repeated = np.flatnonzero(sorted_ids_G[1:] == sorted_ids_G[:-1])
    if len(repeated):
        raise RetrievalError(f"gallery: pair_id {sorted_ids_G[repeated[0]]} is repeated; ties are defined by distinct ids")
    at_Q = np.minimum(np.searchsorted(sorted_ids_G, query_ids), len(sorted_ids_G) - 1)
    return np.where(sorted_ids_G[at_Q] == query_ids, at_Q, -1)


def _check_shapes(queries: tuple[int, ...], gallery: tuple[int, ...], words_QW: Words, words_GW: Words) -> None:
    if len(queries) != 2 or len(gallery) != 2 or queries[1] != gallery[1]:
        raise RetrievalError(f"queries have shape {queries}, the gallery {gallery}; expected (Q, D) and (G, D) in the same space")
    if len(words_QW) != queries[0] or len(words_GW) != gallery[0] or words_QW.shape[1] != words_GW.shape[1]:
        shapes = f"{len(words_QW)} for {queries[0]} queries, {len(words_GW)} for {gallery[0]} gallery items"
        raise RetrievalError(f"label rows do not fit the embeddings: {shapes}; expected one row each, over the same classes")


@dataclass(frozen=True)
class _Queries:
    rows_QD: NDArray[Any]
    ids_Q: Ids
    words_QW: Words
    own_Q: Ids

    def unit_block(self, rows: slice, *, step: int) -> Floats:
        """Unit rows of a block. Every block has `step` rows: products of one shape give a query the same similarities in any block."""
        block_BD = unit_rows(self.rows_QD[rows], self.ids_Q[rows], what="query")
        missing = step - len(block_BD)
        return np.concatenate([block_BD, np.zeros((missing, block_BD.shape[1]), np.float32)]) if missing else block_BD


def _rank_blocks(queries: _Queries, gallery: Gallery, ranker: KeyRanker, *, step: int, exclude_self: bool) -> RankedRows:
    num_queries = len(queries.ids_Q)
    parts = []
    for start in range(0, num_queries, step):
        stop = min(start + step, num_queries)
        similarities_BG = gallery.similarities(queries.unit_block(slice(start, stop), step=step))
        for first in range(start, stop, ranker.rows_at_once):
            rows = slice(first, min(first + ranker.rows_at_once, stop))
            similarities_RG = similarities_BG[first - start : rows.stop - start]
            parts.append(ranker.rank(similarities_RG, queries.words_QW[rows], queries.own_Q[rows], exclude_self=exclude_self))
    if not parts:
        nothing = np.empty(0)
        return RankedRows(np.empty(0, np.int64), nothing, nothing, nothing, np.empty((0, len(RECALL_AT)), np.bool_), np.empty((0, len(NDCG_AT))))
    return RankedRows(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(RankedRows)))


def _histogram(words_QW: Words, words_GW: Words, left_out_Q: Ids) -> NDArray[np.int64]:
    """Gallery items by the number of labels shared; `left_out_Q` is the position of an item that is not ranked, or -1."""
    histogram_QH = grade_histogram(words_QW, words_GW)
    gone = np.flatnonzero(left_out_Q >= 0)
    grades = np.bitwise_count(words_QW[gone] & words_GW[left_out_Q[gone]]).sum(axis=1, dtype=np.int64)
    histogram_QH[gone, grades] -= 1
    return histogram_QH
