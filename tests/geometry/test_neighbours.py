import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from xmr_ray.errors import StrategyError
from xmr_ray.geometry import neighbours
from xmr_ray.geometry.neighbours import Exact, Neighbours


@pytest.fixture(params=[(512, 8192), (7, 11), (1, 1)], ids=str)
def tiles(request, monkeypatch):
    """Sizes of the matrix products."""
    for name, size in zip(("QUERIES_AT_ONCE", "POINTS_AT_ONCE"), request.param, strict=True):
        monkeypatch.setattr(neighbours, name, size)


@pytest.mark.usefixtures("tiles")
def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    queries, points = rng.normal(size=(30, 6)), rng.normal(size=(90, 6))
    distances, rows = NearestNeighbors(n_neighbors=9, algorithm="brute").fit(points).kneighbors(queries)
    found = Exact().search(queries, points, k=9)
    np.testing.assert_array_equal(found.ids_QK, rows)
    np.testing.assert_allclose(found.squares_QK, distances**2, rtol=1e-4)


@pytest.mark.usefixtures("tiles")
def test_own_points_are_left_out_and_ties_go_to_the_lower_row():
    points = np.array([[0.0], [1.0], [-1.0], [0.0], [2.0]])
    found = Exact().search(points, points, k=3, own_rows_Q=np.arange(5))
    assert found.ids_QK.tolist() == [[3, 1, 2], [0, 3, 4], [0, 3, 1], [0, 1, 2], [1, 0, 3]]
    assert found.squares_QK[0].tolist() == [0.0, 1.0, 1.0]


def test_near_duplicates_far_from_the_origin_have_their_true_distance():
    points = np.array([[1000.0, 0.0], [1000.0, 0.01], [1000.0, 0.03]], np.float32)
    found = Exact().search(points[:1], points, k=2, own_rows_Q=np.array([0]))
    np.testing.assert_allclose(found.squares_QK[0], [1e-4, 9e-4], rtol=1e-4)


def test_bounds():
    points = np.zeros((4, 2))
    assert Exact().search(points[:0], points, k=2).ids_QK.shape == (0, 2)
    for k, own in ((0, None), (5, None), (4, np.arange(4))):
        with pytest.raises(StrategyError, match=f"asked for {k} of"):
            Exact().search(points, points, k=k, own_rows_Q=own)


def test_another_kind_must_say_how_it_searches():
    with pytest.raises(NotImplementedError, match="Neighbours"):
        Neighbours(kind="none").search(np.zeros((1, 1)), np.zeros((1, 1)), k=1)
