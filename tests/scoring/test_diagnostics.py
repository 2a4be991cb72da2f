import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from scipy.stats import entropy
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from xmr_ray.scoring.diagnostics import (
    CellCounts,
    Sample,
    count_cells,
    density_ratio,
    describe,
    draw_ids,
    draw_picture,
    kl_divergence,
    label_distance,
    mean_cosine,
    mmd_squared,
    part_shares,
)

counts = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)


def normal(num, width=6, *, shift=0.0, seed=0):
    return (np.random.default_rng(seed).normal(size=(num, width)) + shift).astype(np.float32)


@given(counts)
def test_kl_is_scipys_and_vanishes_for_proportional_shares(rows):
    bought, batch, rest = np.array(rows).T
    held, everything = bought + batch, bought + batch + rest
    found = kl_divergence(held, everything)
    if held.sum() == 0:
        assert found is None
    else:
        assert found == pytest.approx(entropy(held / held.sum(), everything / everything.sum()), abs=1e-12)
        assert kl_divergence(held, 7 * held) == pytest.approx(0, abs=1e-12)


def test_kl_of_one_cell_among_equal_ones_is_their_logarithm():
    assert kl_divergence(np.array([0, 3, 0, 0]), np.array([5, 5, 5, 5])) == pytest.approx(math.log(4))


@given(counts)
def test_density_ratio_is_a_ratio_of_means_over_pairs(rows):
    bought, batch, rest = np.array(rows).T
    tallies = CellCounts(bought + batch + rest, bought, batch)
    share = {cell: count / max(tallies.train_M.sum(), 1) for cell, count in enumerate(tallies.train_M)}
    of_batch = [share[cell] for cell, count in enumerate(batch) for _ in range(count)]
    of_pool = [share[cell] for cell, count in enumerate(rest) for _ in range(count)]
    found = density_ratio(tallies)
    if of_batch and of_pool:
        assert found == pytest.approx(np.mean(of_batch) / np.mean(of_pool))
    else:
        assert found is None


def test_cells_are_counted_by_id():
    rng = np.random.default_rng(0)
    ids, cells = rng.permutation(50) + 1000, rng.integers(0, 7, 50).astype(np.int32)
    bought, batch = ids[[4, 9, 33]], ids[[1, 2]]
    found = count_cells(ids, cells, bought=bought, batch=batch)
    for cell in range(7):
        members = [int(pair_id) for pair_id, own in zip(ids, cells, strict=True) if own == cell]
        assert found.train_M[cell] == len(members)
        assert found.bought_M[cell] == sum(pair_id in bought for pair_id in members)
        assert found.batch_M[cell] == sum(pair_id in batch for pair_id in members)


def test_drawn_ids_are_bounded_distinct_groups_that_no_order_changes():
    ids = np.random.default_rng(1).permutation(500)
    bought, batch = ids[:60], ids[60:70]
    drawn = draw_ids(ids, bought=bought, batch=batch, seed=3, round_index=2, size=40)
    assert [len(group) for group in (drawn.pool_X, drawn.held_H, drawn.batch_n)] == [40, 40, 10]
    assert not np.isin(drawn.pool_X, ids[:70]).any()
    assert np.isin(drawn.held_H, ids[:70]).all()
    again = draw_ids(ids[::-1], bought=bought[::-1], batch=batch[::-1], seed=3, round_index=2, size=40)
    assert again.together.tolist() == drawn.together.tolist() == sorted(set(drawn.together.tolist()))


def slow_mmd(left, right):
    """[MMD] eq. 3, term by term."""
    width = np.median(pdist(right.astype(np.float64), "sqeuclidean"))

    def kernel(one, other):
        return math.exp(-float(((one - other) ** 2).sum()) / (2 * width))

    def inside(points):
        return np.mean([kernel(points[i], points[j]) for i in range(len(points)) for j in range(len(points)) if i != j])

    return inside(left) + inside(right) - 2 * np.mean([kernel(one, other) for one in left for other in right])


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_mmd_is_the_double_sum(shift):
    left, right = normal(9, shift=shift, seed=1), normal(25, seed=2)
    assert mmd_squared(left, right) == pytest.approx(slow_mmd(left.astype(np.float64), right.astype(np.float64)), abs=1e-6)


def test_mmd_is_unbiased_where_both_are_one_distribution_and_grows_with_their_distance():
    alike = [mmd_squared(normal(20, seed=seed), normal(60, seed=1000 + seed)) for seed in range(200)]
    assert abs(np.mean(alike)) < 4 * np.std(alike) / math.sqrt(200)
    assert min(alike) < 0
    grown = [mmd_squared(normal(200, shift=shift, seed=5), normal(200, seed=6)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert grown == sorted(grown)


def test_mmd_is_undefined_for_one_point_and_for_a_pool_of_equal_ones():
    assert mmd_squared(normal(1), normal(9)) is None
    assert mmd_squared(normal(9), normal(1)) is None
    assert mmd_squared(normal(9), np.ones((9, 6), np.float32)) is None


def test_mean_cosine_is_the_mean_over_pairs():
    points = normal(30) * np.arange(1, 31, dtype=np.float32)[:, None]
    assert mean_cosine(points) == pytest.approx(cosine_similarity(points.astype(np.float64))[np.triu_indices(30, 1)].mean(), abs=1e-6)
    assert mean_cosine(np.ones((4, 3), np.float32)) == pytest.approx(1)
    assert mean_cosine(points[:1]) is None


def test_label_distance_by_hand():
    probabilities = np.array([[0.8, 0.2, 0.0], [0.4, 0.2, 0.4]], dtype=np.float32)
    assert label_distance(np.array([0, 0, 5]), probabilities) == pytest.approx(0.8)
    assert label_distance(np.array([6, 2, 2]), probabilities) == pytest.approx(0, abs=1e-7)
    assert label_distance(np.array([0, 0, 0]), probabilities) is None
    assert label_distance(np.array([1, 0, 0]), probabilities[:0]) is None


def test_parts_by_hand_and_their_shares_add_up():
    pool = {"intra": np.array([-1.0, 1.0]), "inter": np.array([8.0, 12.0]), "class": np.array([5.0, 5.0])}
    batch = {"intra": np.array([2.0, 4.0]), "inter": np.array([8.0, 10.0]), "class": np.array([5.0, 6.0])}
    found = part_shares(batch, pool)
    assert found == pytest.approx({"z_intra": 3.0, "z_inter": -0.5, "share_intra": 6 / 7, "share_inter": 1 / 7})
    heavier = part_shares(batch, pool, weights={"intra": 1.0, "inter": 6.0})
    assert heavier == pytest.approx({"z_intra": 3.0, "z_inter": -0.5, "share_intra": 0.5, "share_inter": 0.5})
    assert set(part_shares(batch, pool, weights={"intra": 1.0, "inter": 0.0})) == {"z_intra", "share_intra"}
    assert part_shares({}, {}) == {}


def purchase(num=80, *, num_bought=10, num_batch=8):
    rng = np.random.default_rng(4)
    ids = np.sort(rng.choice(1000, num, replace=False))
    mixed = rng.permutation(ids)
    bought, batch = mixed[:num_bought], mixed[num_bought : num_bought + num_batch]
    drawn = draw_ids(ids, bought=bought, batch=batch, seed=0, round_index=2)
    probabilities = rng.random((num, 4), dtype=np.float32)
    sample = Sample(ids, normal(num) * np.float32([5, 1, 3, 1, 1, 1]) + 2, probabilities, {"intra": rng.random(num), "class": rng.random(num)})
    sample = replace(sample, image_share_K=rng.random(num))
    return ids, bought, batch, drawn, sample


def test_a_description_takes_the_right_pairs_for_every_number():
    ids, bought, batch, drawn, sample = purchase()
    cells = np.random.default_rng(5).integers(0, 9, len(ids))
    tallies = count_cells(ids, cells, bought=bought, batch=batch)
    found = describe(drawn, sample, tallies, labels_C=np.array([3, 0, 1, 0]))
    in_batch, in_held = np.isin(ids, batch), np.isin(ids, np.concatenate([bought, batch]))
    points = sample.points_KD
    assert found["kl"] == kl_divergence(np.bincount(cells[in_held], minlength=9), np.bincount(cells, minlength=9))
    assert found["mmd_squared"] == mmd_squared(points[in_held], points[~in_held])
    assert found["mean_cosine"] == mean_cosine(points[in_batch])
    assert found["pool_cosine"] == mean_cosine(points[~in_held])
    assert found["label_distance"] == label_distance(np.array([3, 0, 1, 0]), sample.probabilities_KC[~in_held])
    assert found["cells_touched"] == len(set(cells[in_batch].tolist()))
    assert found["num_cells"] == len(set(cells.tolist()))
    values = sample.parts["intra"]
    assert found["z_intra"] == pytest.approx((values[in_batch].mean() - values[~in_held].mean()) / values[~in_held].std())
    assert found["share_intra"] + found["share_class"] == pytest.approx(1)
    shares = sample.image_share_K
    assert (found["image_share"], found["pool_image_share"]) == pytest.approx((shares[in_batch].mean(), shares[~in_held].mean()))
    assert all(math.isfinite(value) for value in found.values())


def test_a_purchase_of_everything_leaves_out_what_is_not_defined():
    ids, bought, batch, drawn, sample = purchase(num=12, num_bought=11, num_batch=1)
    tallies = count_cells(ids, np.zeros(12, np.int64), bought=bought, batch=batch)
    found = describe(drawn, replace(sample, parts={}, image_share_K=None), tallies, labels_C=np.zeros(4, np.int64))
    assert found == {"kl": pytest.approx(0), "cells_touched": 1, "num_cells": 1}
    assert draw_picture(drawn, sample, rounds={0: bought, 1: batch}).round_K.tolist().count(1) == 1


def test_the_picture_is_the_pools_pca_with_signs_fixed():
    ids, bought, batch, drawn, sample = purchase()
    picture = draw_picture(drawn, sample, rounds={0: bought[:4], 1: bought[4:], 2: batch})
    in_pool = np.isin(ids, drawn.pool_X)
    reference = PCA(2).fit(sample.points_KD[in_pool].astype(np.float64))
    xy = reference.transform(sample.points_KD.astype(np.float64))
    signs = np.sign([component[np.abs(component).argmax()] for component in reference.components_])
    np.testing.assert_allclose(np.stack([picture.x_K, picture.y_K], axis=1), xy * signs, atol=1e-8)
    assert picture.variance_shown == pytest.approx(reference.explained_variance_ratio_.sum())
    expected = {int(pair_id): -1 for pair_id in ids} | dict.fromkeys(bought[:4].tolist(), 0)
    expected |= dict.fromkeys(bought[4:].tolist(), 1) | dict.fromkeys(batch.tolist(), 2)
    assert dict(zip(picture.pair_ids_K.tolist(), picture.round_K.tolist(), strict=True)) == expected


def test_distances_on_the_picture_never_exceed_those_in_the_space():
    _, _, batch, drawn, sample = purchase()
    picture = draw_picture(drawn, sample, rounds={2: batch})
    flat = np.stack([picture.x_K, picture.y_K], axis=1)
    assert (cdist(flat, flat) <= cdist(sample.points_KD, sample.points_KD) + 1e-6).all()


def test_a_space_of_one_dimension_has_a_flat_picture():
    _, _, batch, drawn, sample = purchase()
    picture = draw_picture(drawn, replace(sample, points_KD=sample.points_KD[:, :1]), rounds={2: batch})
    assert not picture.y_K.any()
    assert picture.variance_shown == pytest.approx(1)
