import numpy as np
import pytest

from xmr_ray.cluster import evaluate as module
from xmr_ray.cluster.evaluate import RankingJob, combine, evaluate_split, parts_of, rank_part
from xmr_ray.cluster.score import ScoringActor, ScoringJob
from xmr_ray.corpus.truth import open_truth
from xmr_ray.scoring.outputs import EMBEDDINGS, read_matrices
from xmr_ray.types import Descriptor


@pytest.fixture(scope="module")
def job(tiny_corpus, raw_networks, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("evaluate"))
    descriptors = tiny_corpus.descriptors("test")
    actor = ScoringActor(ScoringJob(tiny_corpus.path, "test", raw_networks, output, 64, "f32", 1, use_gpu=False))
    actor({"index": np.arange(len(descriptors))})
    return RankingJob(output, descriptors, open_truth(tiny_corpus, "test"), tiny_corpus.schema.num_classes, 1)


def slow_map(queries, gallery, relevant):
    """Mean average precision by its definition, in float64; no ties are expected."""
    found = []
    for i, query in enumerate(queries):
        order = np.argsort(-(gallery @ query), kind="stable")
        hits = relevant[i][order]
        if hits.any():
            found.append(np.mean([hits[: k + 1].mean() for k in np.flatnonzero(hits)]))
    return np.mean(found)


def test_reports_equal_the_definition_in_every_space_and_direction(job, tiny_corpus):
    reports = combine([rank_part(job, job.gallery)])
    read = [read_matrices(job.root, "embeddings", descriptor, EMBEDDINGS) for descriptor in job.gallery]
    towers = {name: np.concatenate([m[name] for _, m in read]).astype(np.float64) for name in EMBEDDINGS}
    labels = job.labels.dense(np.concatenate([ids for ids, _ in read]), num_classes=5)
    relevant = labels @ labels.T > 0

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    sides = {"feature": ("image_embedding", "text_embedding"), "prob": ("image_probability", "text_probability")}
    for space, (image, text) in sides.items():
        assert reports[space].i2t.map_all == pytest.approx(slow_map(unit(towers[image]), unit(towers[text]), relevant), abs=1e-5)
        assert reports[space].t2i.map_all == pytest.approx(slow_map(unit(towers[text]), unit(towers[image]), relevant), abs=1e-5)


def test_queries_ranked_in_parts_give_the_same_report(job):
    whole = combine([rank_part(job, job.gallery)])
    parts = combine([rank_part(job, [descriptor]) for descriptor in job.gallery])
    assert len(job.gallery) > 1
    assert parts == whole


def test_parts_hold_neighbours_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 100)
    descriptors = [Descriptor(i, "test", "f", i, rows) for i, rows in enumerate([40, 60, 10, 300, 90])]
    assert [[d.index for d in part] for part in parts_of(descriptors)] == [[0, 1], [2], [3], [4]]


@pytest.mark.ray
def test_tasks_give_what_one_process_gives(session, job):
    assert evaluate_split(job) == combine([rank_part(job, job.gallery)])
