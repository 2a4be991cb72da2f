"""Exact, blocked retrieval metrics in both directions."""

from xmr_ray.retrieval.evaluate import evaluate, evaluate_direction, summarise
from xmr_ray.retrieval.ranking import QueryResults, merge_directions, rank_queries

__all__ = ["QueryResults", "evaluate", "evaluate_direction", "merge_directions", "rank_queries", "summarise"]
