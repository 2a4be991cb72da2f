import numpy as np
import pytest

from xmr_ray.errors import StrategyError
from xmr_ray.strategies.typical import Typical, join_features, select_typical


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
