import math

import numpy as np
import pytest

from xmr_ray.retrieval import evaluate, evaluate_direction, rank_queries, summarise


def toy():
    """Four pairs; the last one's image is nearest to another pair's text."""
    images = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.1, 1.0]])
    texts = np.array([[1.0, 0.1], [0.0, 2.0], [-3.0, 0.2], [1.0, 1.0]])
    return images, texts, np.array([4, 5, 6, 7]), np.array([[1, 0], [0, 1], [1, 1], [0, 0]])


def test_both_directions_are_the_two_one_way_reports():
    images, texts, ids, labels = toy()
    report = evaluate(images, texts, pair_ids=ids, labels_NC=labels)
    shared = {"query_ids": ids, "gallery_ids": ids, "query_labels_QC": labels, "gallery_labels_GC": labels}
    assert report.i2t == evaluate_direction(images, texts, **shared)
    assert report.t2i == evaluate_direction(texts, images, **shared)
    assert report.map_mean == pytest.approx((report.i2t.map_all + report.t2i.map_all) / 2)


def test_queries_without_relevant_items_are_left_out_of_map_and_counted_but_keep_their_own_pair():
    images, texts, ids, labels = toy()
    report = evaluate(images, texts, pair_ids=ids, labels_NC=labels).i2t
    # Texts by image 0: 4 7 5 6; by image 1: 5 7 4 6; by image 2: 6 5 7 4; pair 7 has no label.
    precisions = [(1 + 2 / 4) / 2, (1 + 2 / 4) / 2, (1 + 1 + 3 / 4) / 3]
    assert report.map_all == pytest.approx(sum(precisions) / 3)
    assert (report.num_queries, report.num_without_relevant) == (4, 1)
    # Texts by image 7: 5 7 4 6, so its own is second.
    assert report.recall == {1: 3 / 4, 5: 1.0, 10: 1.0}
    assert set(report.ndcg) == {10, 50}


def test_without_any_label_recall_remains():
    images, texts, ids, labels = toy()
    report = evaluate(images, texts, pair_ids=ids, labels_NC=np.zeros_like(labels)).t2i
    assert math.isnan(report.map_all)
    assert math.isnan(report.map_50)
    assert report.num_without_relevant == 4
    assert report.recall[5] == 1.0


def test_a_gallery_of_other_pairs_has_no_recall():
    images, texts, ids, labels = toy()
    report = evaluate_direction(images, texts, query_ids=ids + 100, gallery_ids=ids, query_labels_QC=labels, gallery_labels_GC=labels)
    assert report.recall == {}
    assert report.num_queries == 4


def test_map_50_differs_from_map_when_the_gallery_is_longer():
    rng = np.random.default_rng(0)
    space, labels = rng.standard_normal((200, 6)), (rng.random((200, 3)) < 0.3).astype(int)
    ids = np.arange(200)
    results = rank_queries(space, space, query_ids=ids, gallery_ids=ids, query_labels_QC=labels, gallery_labels_GC=labels)
    report = summarise(results)
    kept = results.num_relevant_Q > 0
    assert report.map_50 == np.mean(results.precision_50_Q[kept])
    assert report.map_r == np.mean(results.precision_r_Q[kept])
    assert report.map_50 != report.map_all
