import numpy as np
import pytest

from xmr_ray.errors import StrategyError
from xmr_ray.strategies.typical import Typical, join_features, select_beside, select_typical


def clumps(sizes=(40, 25, 10), seed=0):
    """Three clumps that only both modalities together tell apart: the image separates the first, the text the last."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    image = rng.normal(scale=0.05, size=(len(which), 12)) + np.where(which == 0, 1.0, -1.0)[:, None] * rng.choice([-1, 1], 12)
    text = 100 * (rng.normal(scale=0.05, size=(len(which), 7)) + np.where(which == 2, 1.0, -1.0)[:, None] * rng.choice([-1, 1], 7))
    return which, image, text


def test_one_pair_of_each_clump_largest_first():
    which, image, text = clumps()
    ids = np.random.default_rng(5).permutation(1000)[: len(which)].astype(np.int64)
    selection = Typical(components=2).place(ids, image, text, n=3, seed=0)
    assert [which[ids.tolist().index(i)] for i in selection.pair_ids_n] == [0, 1, 2]
    assert selection.utility_n.tolist() == [40 / 75, 25 / 75, 10 / 75]


def test_order_of_the_candidates_does_not_matter():
    _, image, text = clumps()
    ids = np.arange(75) * 3
    order = np.random.default_rng(1).permutation(75)
    left = Typical().place(ids, image, text, n=20, seed=4)
    right = Typical().place(ids[order], image[order], text[order], n=20, seed=4)
    assert left.pair_ids_n.tolist() == right.pair_ids_n.tolist()
    assert len(set(left.pair_ids_n.tolist())) == 20


@pytest.mark.parametrize("n", [0, 1, 74, 75])
def test_any_number_up_to_all(n):
    _, image, text = clumps()
    picked = Typical().place(np.arange(75), image, text, n=n, seed=0).pair_ids_n
    assert len(picked) == len(set(picked.tolist())) == n


@pytest.mark.parametrize("seed", range(4))
def test_regions_of_bought_pairs_are_left_out(seed):
    which, image, text = clumps(sizes=(30,) * 3, seed=seed)
    ids = np.arange(len(which))
    for owned in range(3):
        # one bought pair and n = 2 make three regions: the two others
        chosen = Typical(components=2).place(ids, image, text, n=2, bought=ids[which == owned][:1], seed=seed, round_index=1)
        assert set(which[chosen.pair_ids_n]) == {0, 1, 2} - {owned}


def test_the_largest_regions_without_a_bought_pair_come_first():
    rng = np.random.default_rng(0)
    which = np.repeat(np.arange(6), [50, 40, 30, 20, 10, 5])
    points = (np.eye(6)[which] + 0.02 * rng.normal(size=(len(which), 6))).astype(np.float32)
    bought = np.zeros(len(which), bool)
    bought[[0, 1, 60, 100]] = True  # two of region 0, one of regions 1 and 2
    chosen = select_beside(points, np.arange(len(which)), 2, bought_N=bought, rng=rng)
    assert which[chosen.pair_ids_n].tolist() == [3, 4]
    np.testing.assert_allclose(chosen.utility_n, [20 / 151, 10 / 151])
    centre = points[which == 3].mean(axis=0)
    distances = np.linalg.norm(points[which == 3] - centre, axis=1)
    assert np.flatnonzero(which == 3)[distances.argmin()] == chosen.pair_ids_n[0]


def test_too_few_regions_without_a_bought_pair_then_most_candidates_for_each_pair_held():
    # three distinct points: eight candidates with one pair held, three with none, one with one
    features = np.repeat(np.array([[0.0], [1.0], [2.0]], np.float32), [9, 3, 2], axis=0)
    bought = np.zeros(14, bool)
    bought[[0, 12]] = True
    chosen = select_beside(features, np.arange(14), 6, bought_N=bought, rng=np.random.default_rng(0))
    assert features[chosen.pair_ids_n].ravel().tolist() == [1, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(chosen.utility_n, np.array([3, 8 / 2, 8 / 3, 8 / 4, 8 / 5, 3 / 2]) / 12)
    assert sorted(select_beside(features, np.arange(14), 12, bought_N=bought, rng=np.random.default_rng(0)).pair_ids_n) == [*range(1, 12), 13]


def test_given_what_is_bought_it_reaches_more_blobs_than_without():
    rng = np.random.default_rng(2)
    which = rng.integers(0, 40, 1200)
    image, text = (rng.normal(size=(40, width))[which] + 0.1 * rng.normal(size=(1200, width)) for width in (8, 6))
    ids = np.arange(1200)
    first = Typical().place(ids, image, text, n=15, seed=0).pair_ids_n
    second = Typical().place(ids, image, text, n=15, bought=first, seed=0, round_index=1).pair_ids_n
    again = select_typical(join_features(image, text, components=64, seed=1), ids, 15, seed=1).pair_ids_n
    reached = [len(set(which[np.concatenate([first, more])])) for more in (second, again)]
    assert len(set(which[first])) == 15
    assert reached[0] >= 28 > reached[1]


def test_bought_pairs_that_are_not_among_the_rows_do_not_matter():
    _, image, text = clumps()
    left = Typical().place(np.arange(75), image, text, n=9, seed=0, bought=np.array([900, 901]), round_index=3)
    right = Typical().place(np.arange(75), image, text, n=9, seed=0)
    assert left.pair_ids_n.tolist() == right.pair_ids_n.tolist()


def test_more_pairs_than_distinct_points():
    features = np.repeat(np.array([[0.0], [1.0]], np.float32), [5, 3], axis=0)
    selection = select_typical(features, np.arange(8), 6, seed=0)
    assert sorted(np.bincount(np.repeat([0, 1], [5, 3])[selection.pair_ids_n]).tolist()) == [3, 3]
    assert len(set(selection.pair_ids_n.tolist())) == 6


def test_more_than_there_are_raises_with_the_numbers():
    with pytest.raises(StrategyError, match="asked for 9 pairs of 8"):
        select_typical(np.zeros((8, 1), np.float32), np.arange(8), 9, seed=0)
    with pytest.raises(StrategyError, match="asked for -1 pairs of 8"):
        Typical().draw_candidates(np.arange(8), n=-1, seed=0)


def test_candidates_are_bounded_and_hold_what_is_asked_for():
    ids = np.arange(1000, 3000)
    assert len(Typical(candidates=50).draw_candidates(ids, n=10, seed=0)) == 50
    assert len(Typical(candidates=50).draw_candidates(ids, n=60, seed=0)) == 60
    assert Typical().draw_candidates(ids, n=60, seed=0).tolist() == ids.tolist()
    assert Typical(candidates=50).draw_candidates(ids, n=1, seed=0).tolist() != Typical(candidates=50).draw_candidates(ids, n=1, seed=1).tolist()


def test_both_modalities_count_equally_whatever_their_scale_and_width():
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(60, 9)), 1e4 * rng.normal(size=(60, 3)) + 7
    joined = join_features(image, text, components=64, seed=0)
    assert joined.shape == (60, 12)
    np.testing.assert_allclose((joined[:, :9] ** 2).sum(axis=1), 0.5, atol=1e-5)
    np.testing.assert_allclose((joined[:, 9:] ** 2).sum(axis=1), 0.5, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(join_features(image, text, components=5, seed=0), axis=1), 1, atol=1e-5)
