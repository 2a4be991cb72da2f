import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from xmr_ray.errors import RetrievalError
from xmr_ray.retrieval import QueryResults, merge_directions, rank_queries
from xmr_ray.retrieval import keys as keys_module
from xmr_ray.retrieval import ranking as ranking_module


def slow(queries, gallery, query_ids, gallery_ids, query_labels, gallery_labels, exclude_self=False):
    """Everything by loops over float64 cosines; ties by ascending id."""
    rows = []
    for q, query_id in enumerate(query_ids):
        items = []
        for g, gallery_id in enumerate(gallery_ids):
            if exclude_self and gallery_id == query_id:
                continue
            left, right = queries[q].astype(np.float64), gallery[g].astype(np.float64)
            cosine = left @ right / math.sqrt(left @ left) / math.sqrt(right @ right)
            items.append((-cosine, gallery_id, int((query_labels[q].astype(int) & gallery_labels[g].astype(int)).sum())))
        items.sort()
        grades = [grade for _, _, grade in items]
        num_relevant = sum(grade > 0 for grade in grades)
        hits, precisions = 0, []
        for rank, grade in enumerate(grades, start=1):
            if grade > 0:
                hits += 1
                precisions.append((rank, hits / rank))
        within_50 = [p for rank, p in precisions if rank <= 50]
        gain = {k: sum(grade / math.log2(i + 2) for i, grade in enumerate(grades[:k])) for k in (10, 50)}
        best = {k: sum(grade / math.log2(i + 2) for i, grade in enumerate(sorted(grades, reverse=True)[:k])) for k in (10, 50)}
        own = [i for i, (_, gallery_id, _) in enumerate(items) if gallery_id == query_id]
        rows.append(
            (
                num_relevant,
                sum(p for _, p in precisions) / max(num_relevant, 1),
                sum(within_50) / max(len(within_50), 1),
                sum(p for rank, p in precisions if rank <= num_relevant) / max(num_relevant, 1),
                [bool(own) and own[0] < k for k in (1, 5, 10)],
                bool(own),
                [gain[k] / best[k] if best[k] else 0.0 for k in (10, 50)],
            )
        )
    return [np.array(column) for column in zip(*rows, strict=True)]


def compare(results: QueryResults, expected, *, tolerance=1e-6):
    for item, values in zip(dataclasses.fields(QueryResults)[1:], expected, strict=True):
        np.testing.assert_allclose(getattr(results, item.name).astype(float), values.astype(float), atol=tolerance, err_msg=item.name)


def make(seed, num_queries, num_items, dim, num_labels, *, duplicates=0):
    rng = np.random.default_rng(seed)
    ids = rng.permutation(5 * (num_queries + num_items))
    gallery = rng.standard_normal((num_items, dim)).astype(np.float32)
    if duplicates:
        gallery = gallery[rng.integers(0, max(1, num_items // duplicates), num_items)]
    gallery_ids = ids[:num_items]
    query_ids = np.where(rng.random(num_queries) < 0.7, rng.permutation(ids)[:num_queries], ids[num_items : num_items + num_queries])
    labels = [(rng.random((count, num_labels)) < 1.5 / num_labels).astype(np.uint8) for count in (num_queries, num_items)]
    queries = rng.standard_normal((num_queries, dim)).astype(np.float32)
    return {
        "queries_QD": queries,
        "gallery_GD": gallery,
        "query_ids": query_ids,
        "gallery_ids": gallery_ids,
        "query_labels_QC": labels[0],
        "gallery_labels_GC": labels[1],
    }


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize(("num_queries", "num_items", "dim", "num_labels"), [(30, 90, 8, 5), (7, 60, 33, 81), (1, 1, 4, 1), (5, 3, 2, 130)])
def test_equals_the_slow_reference(num_queries, num_items, dim, num_labels, exclude_self):
    data = make(1, num_queries, num_items, dim, num_labels)
    compare(rank_queries(**data, exclude_self=exclude_self), slow(*data.values(), exclude_self=exclude_self))


@pytest.mark.parametrize("num_items", [40, 333])
def test_ties_of_duplicates_break_by_ascending_id(num_items):
    data = make(2, 25, num_items, 64, 4, duplicates=6)
    compare(rank_queries(**data), slow(*data.values()), tolerance=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_items=st.integers(1, 70), num_queries=st.integers(1, 6), exclude_self=st.booleans())
def test_equals_the_slow_reference_on_a_grid_full_of_ties(seed, num_items, num_queries, exclude_self):
    rng = np.random.default_rng(seed)
    data = make(seed, num_queries, num_items, 3, int(rng.integers(1, 7)))
    # Axes only: cosines are exactly -1, 0 and 1, so that almost everything ties.
    axes = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    data["queries_QD"], data["gallery_GD"] = axes[rng.integers(0, 6, num_queries)] * 4, axes[rng.integers(0, 6, num_items)]
    compare(rank_queries(**data, exclude_self=exclude_self), slow(*data.values(), exclude_self=exclude_self), tolerance=1e-12)


def test_worked_by_hand():
    # Cosines with the query: id 10: 0, id 11: 1, id 12: -1, id 13: 0, id 14: 1. Ranking by hand: 11, 14, 10, 13, 12.
    results = rank_queries(
        np.array([[2.0, 0.0]]),
        np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -2.0], [3.0, 0.0], [-1.0, 0.0]]),
        query_ids=np.array([13]),
        gallery_ids=np.array([14, 10, 13, 11, 12]),
        query_labels_QC=np.array([[1, 1, 0]]),
        gallery_labels_GC=np.array([[1, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    )
    # Relevant are 14 (rank 2, two labels), 13 (rank 4, one label), 12 (rank 5, one label).
    assert results.num_relevant_Q.tolist() == [3]
    assert results.precision_all_Q[0] == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3, abs=1e-12)
    assert results.precision_50_Q[0] == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3, abs=1e-12)
    assert results.precision_r_Q[0] == pytest.approx(1 / 2 / 3, abs=1e-12)
    assert results.own_found_QK.tolist() == [[False, True, True]]
    gain = 2 / math.log2(3) + 1 / math.log2(5) + 1 / math.log2(6)
    assert results.ndcg_QK[0, 0] == pytest.approx(gain / (2 + 1 / math.log2(3) + 1 / math.log2(4)), abs=1e-12)


def test_negative_similarities_rank_below_zero_and_in_order():
    gallery = np.array([[-1.0, 0.0], [-1.0, 3.0], [-1.0, 0.1], [0.0, 1.0]])
    labels = np.array([[0], [0], [1], [0]])
    results = rank_queries(
        np.array([[1.0, 0.0]]), gallery, query_ids=np.array([0]), gallery_ids=np.arange(4), query_labels_QC=np.array([[1]]), gallery_labels_GC=labels
    )
    assert results.precision_all_Q[0] == pytest.approx(1 / 3)


def test_a_query_without_a_relevant_item_is_zero_and_told_apart():
    data = make(3, 4, 20, 5, 3)
    data["query_labels_QC"] = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 1], [0, 0, 1]])
    data["gallery_labels_GC"][:, 2] = 0
    results = rank_queries(**data)
    assert (results.num_relevant_Q > 0).tolist() == [False, True, False, False]
    assert results.precision_all_Q[[0, 2, 3]].tolist() == [0, 0, 0]
    assert results.ndcg_QK[[0, 2, 3]].sum() == 0


def test_average_precision_of_sklearn_and_torchmetrics_without_ties():
    torch = pytest.importorskip("torch")
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    data = make(4, 20, 150, 12, 6)
    results = rank_queries(**data)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (data["queries_QD"], data["gallery_GD"])]
    cosines = unit[0] @ unit[1].T
    grades = data["query_labels_QC"].astype(int) @ data["gallery_labels_GC"].astype(int).T
    for q in np.flatnonzero(grades.any(axis=1)):
        assert results.precision_all_Q[q] == pytest.approx(average_precision_score(grades[q] > 0, cosines[q]), abs=1e-6)
        # torchmetrics counts nothing at or below 0 as found; a shift keeps the order.
        preds, target = torch.from_numpy(cosines[q].astype(np.float64) + 2), torch.from_numpy(grades[q] > 0)
        assert results.precision_all_Q[q] == pytest.approx(float(retrieval.retrieval_average_precision(preds, target)), abs=1e-6)
        assert results.precision_50_Q[q] == pytest.approx(float(retrieval.retrieval_average_precision(preds, target, top_k=50)), abs=1e-6)
        for column, k in enumerate((10, 50)):
            assert results.ndcg_QK[q, column] == pytest.approx(ndcg_score(grades[q : q + 1], cosines[q : q + 1], k=k, ignore_ties=True), abs=1e-6)


@pytest.mark.parametrize("cuts", [[], [13], [1, 2, 50], [32, 64]])
def test_queries_done_apart_merge_without_a_change_of_any_bit(cuts):
    data = make(5, 70, 200, 40, 9, duplicates=2)
    whole = rank_queries(**data, block=32)
    parts = []
    for rows in np.split(np.arange(70), cuts):
        mine = {name: values[rows] if name.startswith("quer") else values for name, values in data.items()}
        parts.append(rank_queries(**mine, block=32))
    merged = merge_directions(parts)
    for item in dataclasses.fields(QueryResults):
        np.testing.assert_array_equal(getattr(merged, item.name), getattr(whole, item.name), err_msg=item.name)


def test_order_of_the_gallery_does_not_matter():
    data = make(6, 15, 120, 16, 5, duplicates=3)
    order = np.random.default_rng(0).permutation(120)
    shuffled = {name: values[order] if name.startswith("gallery") else values for name, values in data.items()}
    left, right = rank_queries(**data), rank_queries(**shuffled)
    np.testing.assert_allclose(left.precision_all_Q, right.precision_all_Q, atol=1e-9)
    np.testing.assert_array_equal(left.own_found_QK, right.own_found_QK)


def test_small_buffers_give_the_same(monkeypatch):
    data = make(7, 33, 90, 16, 5)
    whole = rank_queries(**data)
    monkeypatch.setattr(keys_module, "_KEYS_AT_ONCE", 200)
    monkeypatch.setattr(ranking_module, "_SIMILARITIES_AT_ONCE", 900)
    compare(rank_queries(**data), [getattr(whole, item.name) for item in dataclasses.fields(QueryResults)[1:]], tolerance=1e-9)


def test_no_query_at_all():
    data = make(8, 3, 10, 4, 2)
    none = {name: values[:0] if name.startswith("quer") else values for name, values in data.items()}
    results = rank_queries(**none)
    assert len(results) == 0
    assert len(merge_directions([results, rank_queries(**data)])) == 3


def test_bad_input_is_refused_with_the_id():
    data = make(9, 4, 10, 4, 2)
    with pytest.raises(RetrievalError, match=f"pair_id {data['gallery_ids'][0]} is repeated"):
        rank_queries(**{**data, "gallery_ids": np.repeat(data["gallery_ids"][0], 10)})
    zero = data["gallery_GD"].copy()
    zero[6] = 0
    with pytest.raises(RetrievalError, match=f"gallery embedding of pair_id {data['gallery_ids'][6]} is a row of zeros"):
        rank_queries(**{**data, "gallery_GD": zero})
    broken = data["queries_QD"].copy()
    broken[2, 1] = np.nan
    with pytest.raises(RetrievalError, match=f"query embedding of pair_id {data['query_ids'][2]} is not finite"):
        rank_queries(**{**data, "queries_QD": broken})
    with pytest.raises(RetrievalError, match="same space"):
        rank_queries(**{**data, "queries_QD": data["queries_QD"][:, :3]})
    with pytest.raises(RetrievalError, match="label rows do not fit"):
        rank_queries(**{**data, "query_labels_QC": data["query_labels_QC"][:2]})
    with pytest.raises(RetrievalError, match="gallery holds 0 items"):
        rank_queries(**{name: values[:0] if name.startswith("gallery") else values for name, values in data.items()})
    with pytest.raises(RetrievalError, match="no query results"):
        merge_directions([])
