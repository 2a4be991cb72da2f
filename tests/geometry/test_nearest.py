import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from xmr_ray.errors import StrategyError
from xmr_ray.geometry.nearest import Nearest, NeighbourLists, measure_recall, merge_lists, without_own


def slowly(queries, ids, points, own, k):
    """Loop over every query: (distance, id) of every other point, sorted."""
    found = []
    for query, mine in zip(queries, own, strict=True):
        near = sorted((float(((query - point) ** 2).sum()), int(pair)) for pair, point in zip(ids, points, strict=True) if pair != mine)
        found.append((near + [(float("inf"), -1)] * k)[:k])
    return [[pair for _, pair in near] for near in found], [[square for square, _ in near] for near in found]


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 9), st.integers(1, 12))
def test_tiles_in_any_order_give_what_a_loop_gives(seed, num_points, k, tile):
    rng = np.random.default_rng(seed)
    points = rng.integers(-2, 3, (num_points, 2)).astype(np.float32)  # whole numbers: many ties, no rounding
    ids = rng.permutation(1000)[:num_points] + 2**40
    own = np.where(rng.random(num_points) < 0.7, ids, -1)
    nearest = Nearest(points, k=k, own_ids_Q=own, queries_at_once=5)
    starts = np.arange(0, num_points, tile)
    for start in rng.permutation(starts):
        nearest.add(ids[start : start + tile], points[start : start + tile])
    expected_ids, expected_squares = slowly(points, ids, points, own, k)
    assert nearest.lists().squares_QK.tolist() == expected_squares
    # Where more points tie than there are candidates, a tile's first ones are looked at: ids are compared where that cannot happen.
    if num_points <= 2 * k + 8:
        assert nearest.lists().ids_QK.tolist() == expected_ids


def test_lists_of_parts_merge_to_the_list_of_all():
    rng = np.random.default_rng(1)
    points, queries = rng.normal(size=(300, 5)).astype(np.float32), rng.normal(size=(20, 5)).astype(np.float32)
    parts = []
    for rows in np.array_split(rng.permutation(300), 4):
        nearest = Nearest(queries, k=7)
        nearest.add(rows, points[rows])
        parts.append(nearest.lists())
    expected = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(points).kneighbors(queries)[1]
    assert merge_lists(parts[::-1], k=7).ids_QK.tolist() == merge_lists(parts, k=7).ids_QK.tolist() == expected.tolist()


def test_crowds_of_duplicates_do_not_hide_the_nearest():
    points = np.concatenate([np.zeros((500, 3)), [[0.5, 0, 0]], np.ones((500, 3))]).astype(np.float32)
    nearest = Nearest(np.array([[0.6, 0, 0]]), k=2)
    nearest.add(np.arange(1001), points)
    np.testing.assert_array_equal(nearest.lists().ids_QK, [[500, 0]])


def test_empty_tiles_and_no_queries_are_lawful():
    nearest = Nearest(np.zeros((2, 3)), k=2)
    nearest.add(np.empty(0, np.int64), np.empty((0, 3)))
    assert nearest.lists().ids_QK.tolist() == [[-1, -1], [-1, -1]]
    none = Nearest(np.empty((0, 3)), k=2)
    none.add(np.arange(4), np.zeros((4, 3)))
    assert none.lists().squares_QK.shape == (0, 2)


def test_own_points_are_taken_out_of_lists():
    lists = NeighbourLists(np.array([[5, 7, 9], [1, -1, -1]]), np.float32([[0, 1, 2], [3, np.inf, np.inf]]))
    kept = without_own(lists, np.array([5, -1]), k=2)
    assert kept.ids_QK.tolist() == [[7, 9], [1, -1]]
    assert kept.squares_QK.tolist() == [[1, 2], [3, np.inf]]


def test_recall_counts_places_within_the_exact_radius():
    exact = NeighbourLists(np.array([[1, 2, 3], [4, 5, 6]]), np.float32([[0, 1, 2], [1, 1, 1]]))
    found = NeighbourLists(np.array([[1, 9, -1], [7, 8, 4]]), np.float32([[0, 2, np.inf], [1, 1, 1]]))
    assert measure_recall(found, exact) == pytest.approx(5 / 6)
    assert measure_recall(exact, exact) == 1
    with pytest.raises(StrategyError, match="not full"):
        measure_recall(found, found)
