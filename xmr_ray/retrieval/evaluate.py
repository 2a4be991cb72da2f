"""Reports: retrieval in one direction and in both."""

import numpy as np
from numpy.typing import NDArray

from xmr_ray.retrieval.keys import NDCG_AT, RECALL_AT
from xmr_ray.retrieval.ranking import QueryResults, rank_queries
from xmr_ray.types import DirectionReport, Floats, Ids, RetrievalReport


def summarise(results: QueryResults) -> DirectionReport:
    """Means over queries, in query order. Queries without a relevant item are left out of mAP and NDCG, and counted."""
    answerable_Q = results.num_relevant_Q > 0
    return DirectionReport(
        map_all=_mean(results.precision_all_Q[answerable_Q]),
        map_50=_mean(results.precision_50_Q[answerable_Q]),
        recall={k: _mean(results.own_found_QK[results.has_own_Q, i]) for i, k in enumerate(RECALL_AT) if results.has_own_Q.any()},
        num_queries=len(results),
        num_without_relevant=int((~answerable_Q).sum()),
        map_r=_mean(results.precision_r_Q[answerable_Q]),
        ndcg={k: _mean(results.ndcg_QK[answerable_Q, i]) for i, k in enumerate(NDCG_AT)},
    )


def evaluate_direction(
    queries_QD: Floats,
    gallery_GD: Floats,
    *,
    query_ids: Ids,
    gallery_ids: Ids,
    query_labels_QC: NDArray[np.generic],
    gallery_labels_GC: NDArray[np.generic],
    block: int = 256,
    exclude_self: bool = False,
) -> DirectionReport:
    """Retrieval of gallery items by queries, cosine, exact; arguments and errors as in `rank_queries`.

    >>> space, labels = np.eye(2, dtype=np.float32), np.eye(2)
    >>> ids = np.arange(2)
    >>> report = evaluate_direction(space, space, query_ids=ids, gallery_ids=ids, query_labels_QC=labels, gallery_labels_GC=labels)
    >>> report.map_all, report.recall[1], report.num_without_relevant
    (1.0, 1.0, 0)
    """
    return summarise(
        rank_queries(
            queries_QD,
            gallery_GD,
            query_ids=query_ids,
            gallery_ids=gallery_ids,
            query_labels_QC=query_labels_QC,
            gallery_labels_GC=gallery_labels_GC,
            block=block,
            exclude_self=exclude_self,
        )
    )


def evaluate(image_ND: Floats, text_ND: Floats, *, pair_ids: Ids, labels_NC: NDArray[np.generic], block: int = 256) -> RetrievalReport:
    """Both directions in one space, every pair as query and in the gallery; the own pair counts as relevant."""

    def one_way(queries_ND: Floats, gallery_ND: Floats) -> DirectionReport:
        return evaluate_direction(
            queries_ND,
            gallery_ND,
            query_ids=pair_ids,
            gallery_ids=pair_ids,
            query_labels_QC=labels_NC,
            gallery_labels_GC=labels_NC,
            block=block,
        )

    return RetrievalReport(i2t=one_way(image_ND, text_ND), t2i=one_way(text_ND, image_ND))


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(np.mean(values, dtype=np.float64)) if len(values) else float("nan")
