"""Retrieval on the test split: tasks rank blocks of queries against the whole gallery, in both directions and every space.

Where the test split has no truth, bought labels that were held out from training are query set and gallery of mAP.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import ray
import torch

from xmr_ray.cluster.score import fetch
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.stream import RowGroupReader, prefetch
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.retrieval import QueryResults, merge_directions, rank_queries, summarise
from xmr_ray.retrieval.evaluate import evaluate
from xmr_ray.scoring.outputs import EMBEDDINGS, read_matrices
from xmr_ray.scoring.scorer import PairScorer
from xmr_ray.scoring.spaces import SPACES, space_of
from xmr_ray.types import Descriptor, DirectionReport, Floats, Ids, LabelSet, PairBatch, RetrievalReport, TrainedNetworks

QUERIES_AT_ONCE = 4096
_NOTHING = DirectionReport(map_all=math.nan, map_50=math.nan, recall={}, num_queries=0, num_without_relevant=0)
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


@dataclass(frozen=True)
class HeldOutJob:
    """Train pairs whose bought labels were not trained on, and the networks that are measured with them."""

    corpus: PairedCorpus
    networks: TrainedNetworks
    held_out: LabelSet
    batch_size: int
    threads: int


def rank_held_out(job: HeldOutJob) -> dict[str, RetrievalReport]:
    """Both directions in every space among the held-out pairs. Own-pair recall is left out: the gallery is too small for it.

    NaN with fewer than two pairs: one pair would find its own partner, the only item there, and always score 1.
    """
    torch.set_num_threads(job.threads)
    if len(job.held_out) < 2:
        return dict.fromkeys(SPACES, RetrievalReport(_NOTHING, _NOTHING))
    ids_G, towers = _embed(job)
    labels_GC = job.held_out.dense(ids_G, num_classes=job.corpus.schema.num_classes)
    reports = {}
    for space in SPACES:
        image_GD, text_GD = space_of(towers, space)
        found = evaluate(image_GD, text_GD, pair_ids=ids_G, labels_NC=labels_GC)
        reports[space] = RetrievalReport(i2t=replace(found.i2t, recall={}), t2i=replace(found.t2i, recall={}))
    return reports


def evaluate_held_out(job: HeldOutJob) -> dict[str, RetrievalReport]:
    """As `rank_held_out`, in a task."""
    reports: dict[str, RetrievalReport] = fetch(_rank_held_out.options(num_cpus=job.threads).remote(job))
    return reports


def own_pairs_beside(held_out: Mapping[str, RetrievalReport], test: Mapping[str, RetrievalReport]) -> dict[str, RetrievalReport]:
    """What the held-out pairs say of mAP, with the own-pair recall of the test split."""
    return {
        space: RetrievalReport(i2t=replace(found.i2t, recall=test[space].i2t.recall), t2i=replace(found.t2i, recall=test[space].t2i.recall))
        for space, found in held_out.items()
    }


def _embed(job: HeldOutJob) -> tuple[Ids, dict[str, Floats]]:
    """Ids (G,) and both towers' outputs of the held-out pairs, in the order of the corpus."""
    wanted, corpus = job.held_out.pair_ids_L, job.corpus
    holding = [one for one in corpus.descriptors("train") if np.isin(corpus.read_ids(one), wanted).any()]
    networks = RoundNetworks.load(job.networks.path)
    scorer = PairScorer(networks, multi_label=corpus.schema.multi_label, batch_size=job.batch_size, device=torch.device("cpu"))
    ids, towers = [np.empty(0, np.int64)], []
    for _, batch in prefetch(RowGroupReader(corpus), holding):
        rows = np.flatnonzero(np.isin(batch.pair_ids_B, wanted))
        part = PairBatch(batch.pair_ids_B[rows], batch.image_BI[rows], batch.text_BT[rows], batch.image_dtype, batch.text_dtype)
        ids.append(part.pair_ids_B)
        towers.append(scorer.score(part).towers)
    return np.concatenate(ids), {name: np.concatenate([tower[name] for tower in towers]) for name in EMBEDDINGS}


@ray.remote
def _rank_held_out(job: HeldOutJob) -> dict[str, RetrievalReport]:
    return rank_held_out(job)


@ray.remote
def _rank(job: RankingJob, part: Sequence[Descriptor]) -> Ranked:
    return rank_part(job, part)
