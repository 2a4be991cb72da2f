"""Retrieval on the test split: tasks rank blocks of queries against the whole gallery, in both directions and every space."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ray
import torch

from xmr_ray.cluster.score import fetch
from xmr_ray.retrieval import QueryResults, merge_directions, rank_queries, summarise
from xmr_ray.scoring.outputs import EMBEDDINGS, read_matrices
from xmr_ray.scoring.spaces import SPACES, space_of
from xmr_ray.types import Descriptor, LabelSet, RetrievalReport

QUERIES_AT_ONCE = 4096
Ranked = dict[str, tuple[QueryResults, QueryResults]]


@dataclass(frozen=True)
class RankingJob:
    """Where the embeddings of the gallery lie, and the true labels of its pairs."""

    root: str
    gallery: tuple[Descriptor, ...]
    labels: LabelSet
    num_classes: int
    threads: int


def rank_part(job: RankingJob, part: Sequence[Descriptor]) -> Ranked:
    """Image-to-text and text-to-image results of the queries of some descriptors, by space."""
    torch.set_num_threads(job.threads)
    read = [read_matrices(job.root, "embeddings", descriptor, EMBEDDINGS) for descriptor in job.gallery]
    ids_G = np.concatenate([ids for ids, _ in read])
    towers = {name: np.concatenate([matrices[name] for _, matrices in read]) for name in EMBEDDINGS}
    labels_GC = job.labels.dense(ids_G, num_classes=job.num_classes)
    wanted = {descriptor.index for descriptor in part}
    rows_Q = np.concatenate([np.full(len(ids), descriptor.index in wanted) for descriptor, (ids, _) in zip(job.gallery, read, strict=True)])
    found: Ranked = {}
    for space in SPACES:
        image_GD, text_GD = space_of(towers, space)
        both = [
            rank_queries(
                queries_GD[rows_Q],
                gallery_GD,
                query_ids=ids_G[rows_Q],
                gallery_ids=ids_G,
                query_labels_QC=labels_GC[rows_Q],
                gallery_labels_GC=labels_GC,
            )
            for queries_GD, gallery_GD in ((image_GD, text_GD), (text_GD, image_GD))
        ]
        found[space] = (both[0], both[1])
    return found


def parts_of(descriptors: Sequence[Descriptor]) -> list[list[Descriptor]]:
    """Runs of neighbouring descriptors with at most `QUERIES_AT_ONCE` pairs each, or one descriptor."""
    parts: list[list[Descriptor]] = []
    for descriptor in descriptors:
        if parts and sum(one.num_rows for one in parts[-1]) + descriptor.num_rows <= QUERIES_AT_ONCE:
            parts[-1].append(descriptor)
        else:
            parts.append([descriptor])
    return parts


def combine(ranked: Sequence[Ranked]) -> dict[str, RetrievalReport]:
    """Reports by space from the parts, in the order of the queries."""
    reports = {}
    for space in SPACES:
        i2t, t2i = (summarise(merge_directions([part[space][way] for part in ranked])) for way in (0, 1))
        reports[space] = RetrievalReport(i2t=i2t, t2i=t2i)
    return reports


def evaluate_split(job: RankingJob) -> dict[str, RetrievalReport]:
    """Both directions in every space, over all pairs of the split."""
    shared = ray.put(job)
    pending = [_rank.options(num_cpus=job.threads).remote(shared, part) for part in parts_of(job.gallery)]
    return combine(fetch(pending))


@ray.remote
def _rank(job: RankingJob, part: Sequence[Descriptor]) -> Ranked:
    return rank_part(job, part)
