from dataclasses import replace

import numpy as np
import pytest

from xmr_ray.cluster import evaluate as module
from xmr_ray.cluster.evaluate import HeldOutJob, RankingJob, combine, evaluate_split, own_pairs_beside, parts_of, rank_held_out, rank_part
from xmr_ray.cluster.score import ScoringActor, ScoringJob
from xmr_ray.corpus.truth import open_truth
from xmr_ray.scoring.outputs import EMBEDDINGS, read_matrices
from xmr_ray.types import EMPTY_LABELS, Descriptor


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


def test_held_out_pairs_are_queries_and_gallery_of_their_own(job, tiny_corpus, raw_networks, tmp_path):
    held_out = open_truth(tiny_corpus, "train").take(tiny_corpus.pair_ids("train")[3:590:9])
    found = rank_held_out(HeldOutJob(tiny_corpus, raw_networks, held_out, batch_size=64, threads=1))
    descriptors = tiny_corpus.descriptors("train")
    ScoringActor(ScoringJob(tiny_corpus.path, "train", raw_networks, str(tmp_path), 64, "f32", 1, use_gpu=False))(
        {"index": np.arange(len(descriptors))}
    )
    read = [read_matrices(str(tmp_path), "embeddings", descriptor, EMBEDDINGS) for descriptor in descriptors]
    ids = np.concatenate([ids for ids, _ in read])
    rows = np.isin(ids, held_out.pair_ids_L)
    image, text = (np.concatenate([m[f"{side}_embedding"] for _, m in read])[rows].astype(np.float64) for side in ("image", "text"))
    image, text = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (image, text))
    labels = held_out.dense(ids[rows], num_classes=5)
    assert found["feature"].i2t.map_all == pytest.approx(slow_map(image, text, labels @ labels.T > 0), abs=1e-5)
    assert found["feature"].t2i.map_all == pytest.approx(slow_map(text, image, labels @ labels.T > 0), abs=1e-5)
    assert found["feature"].i2t.num_queries == len(held_out) == 66
    assert found["feature"].i2t.recall == {}
    test = combine([rank_part(job, job.gallery)])
    both = own_pairs_beside(found, test)
    assert both["prob"].i2t.recall == test["prob"].i2t.recall != {}
    assert both["prob"].t2i.map_all == found["prob"].t2i.map_all


def test_where_nothing_or_one_pair_is_held_out_there_is_no_figure(tiny_corpus, raw_networks):
    truth = open_truth(tiny_corpus, "train")
    for held_out in (EMPTY_LABELS, truth.take(truth.pair_ids_L[:1])):
        found = rank_held_out(HeldOutJob(tiny_corpus, raw_networks, held_out, batch_size=64, threads=1))
        assert all(np.isnan(report.map_mean) and report.i2t.num_queries == 0 for report in found.values())


def test_own_pairs_need_no_labels(job):
    with_labels, without = (combine([rank_part(one, one.gallery)]) for one in (job, replace(job, labels=EMPTY_LABELS)))
    for space in without:
        assert without[space].i2t.recall == with_labels[space].i2t.recall != {}
        assert np.isnan(without[space].map_mean)


@pytest.mark.ray
def test_tasks_give_what_one_process_gives(session, job):
    assert evaluate_split(job) == combine([rank_part(job, job.gallery)])
