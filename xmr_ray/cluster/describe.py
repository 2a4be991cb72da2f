"""What a purchase looks like: one task reads the scored train pairs, keeps bounded samples of them, and writes numbers and a picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from numpy.typing import NDArray

from xmr_ray import storage
from xmr_ray.cluster.score import fetch
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.labels.ledger import read_receipt
from xmr_ray.runs.directory import RoundDirectory, RunDirectory, read_json
from xmr_ray.scoring.density import choice_file
from xmr_ray.scoring.diagnostics import Picture, Sample, count_cells, describe, draw_ids, draw_picture
from xmr_ray.scoring.informativeness import IMAGE_SHARE, PARTS
from xmr_ray.scoring.outputs import FUSED_MEAN, file_of, read_matrices, read_scores
from xmr_ray.scoring.points import PointSource
from xmr_ray.types import Descriptor, Ids, LabelSet, Selection


def bought_by_round(directory: RunDirectory, *, before: int) -> dict[int, Ids]:
    """Ids that were paid for in each round before `before`, from the receipts."""
    return {index: read_receipt(directory.round(index).receipt).pair_ids for index in range(before)}


@dataclass(frozen=True)
class DescribeJob:
    """A purchase and what it is seen against.

    `scored_root` is the round whose networks scored the pool: its cells, embeddings, predictions and scores are read. `receipts` are the ids
    bought in each earlier round, `bought` their labels. Samples are drawn by `seed` and round; `weights` are those of the parts of
    informativeness, equal if None.
    """

    corpus: PairedCorpus
    scored_root: str
    place: RoundDirectory
    selection: Selection
    receipts: Mapping[int, Ids]
    bought: LabelSet
    seed: int
    weights: Mapping[str, float] | None = None


def describe_purchase(job: DescribeJob) -> None:
    """Write `place.space`, then `place.diagnostics`; doing it again writes the same.

    Points are the means of the fused Gaussians, or without Gaussian heads the means of both unit embeddings, whose length is then not 1.
    """
    corpus, place, receipts = job.corpus, job.place, job.receipts
    ids_N, batch = corpus.pair_ids("train"), job.selection.pair_ids_n
    before = np.concatenate([np.empty(0, np.int64), *receipts.values()])
    drawn = draw_ids(ids_N, bought=before, batch=batch, seed=job.seed, round_index=place.index)
    source = _source(corpus, job.scored_root)
    sample, cells_N = _gather(source, drawn.together, [part for part in PARTS if part in job.selection.reasons])
    counts = count_cells(ids_N, cells_N, bought=before, batch=batch)
    labels_C = np.bincount(job.bought.classes, minlength=corpus.schema.num_classes)
    numbers = describe(drawn, sample, counts, labels_C=labels_C, weights=job.weights)
    picture = draw_picture(drawn, sample, rounds={**receipts, place.index: batch})
    _write_picture(place.space, picture)
    content = {**numbers, "variance_shown": picture.variance_shown, "space": source.space}
    density = read_json(choice_file(job.scored_root)) or {}
    content |= {f"neighbours_{name}": density[name] for name in ("backend", "ef", "recall", "num_shards") if name in density}
    storage.write_whole(place.diagnostics, json.dumps(content, indent=2, sort_keys=True, allow_nan=False).encode())


def describe_purchase_remotely(job: DescribeJob) -> None:
    """As `describe_purchase`, in a task: no point passes through the driver."""
    fetch(_describe.remote(job))


@ray.remote
def _describe(job: DescribeJob) -> None:
    describe_purchase(job)


def _source(corpus: PairedCorpus, scored_root: str) -> PointSource:
    descriptors = corpus.descriptors("train")
    has_heads = FUSED_MEAN in _names(scored_root, "embeddings", descriptors[0])
    return PointSource(scored_root, "fused" if has_heads else "embedding", corpus.schema.multi_label, descriptors)


def _names(scored_root: str, kind: str, descriptor: Descriptor) -> list[str]:
    filesystem, inner = storage.resolve(file_of(scored_root, kind, descriptor))
    with filesystem.open_input_file(inner) as file:
        return pq.read_schema(file).names


def _gather(source: PointSource, wanted: Ids, parts: Sequence[str]) -> tuple[Sample, NDArray[np.float64]]:
    """What scoring wrote of the wanted pairs, and the cell of every train pair (N,); one descriptor's rows are held at a time."""
    shares = [IMAGE_SHARE] if IMAGE_SHARE in _names(source.root, "scores", source.descriptors[0]) else []
    found = [_read(source, descriptor, wanted, [*parts, *shares]) for descriptor in source.descriptors]
    samples = [sample for sample, _ in found]
    ids_K = np.concatenate([sample.pair_ids_K for sample in samples])
    order_K = np.argsort(ids_K, kind="stable")
    joined = Sample(
        ids_K[order_K],
        np.concatenate([sample.points_KD for sample in samples])[order_K],
        np.concatenate([sample.probabilities_KC for sample in samples])[order_K],
        {part: np.concatenate([sample.parts[part] for sample in samples])[order_K] for part in parts},
        np.concatenate([sample.parts[IMAGE_SHARE] for sample in samples])[order_K] if shares else None,
    )
    return joined, np.concatenate([cells_B for _, cells_B in found])


def _read(source: PointSource, descriptor: Descriptor, wanted: Ids, parts: Sequence[str]) -> tuple[Sample, NDArray[np.float64]]:
    points = source.read(descriptor)
    _, predictions = read_matrices(source.root, "predictions", descriptor, ["probability"])
    scores = read_scores(source.root, descriptor, [*parts, "cell"]).columns
    rows = np.flatnonzero(np.isin(points.ids_B, wanted))
    chosen = {part: scores[part][rows] for part in parts}
    return Sample(points.ids_B[rows], points.points_BD[rows], predictions["probability"][rows], chosen), scores["cell"]


def _write_picture(path: str, picture: Picture) -> None:
    columns = {"pair_id": picture.pair_ids_K, "x": picture.x_K, "y": picture.y_K, "round": picture.round_K}
    storage.write_table(path, pa.table({name: pa.array(values) for name, values in columns.items()}))
