import numpy as np
import pytest

from xmr_ray.errors import StrategyError
from xmr_ray.geometry.kmeans import assign, fit_kmeans, nearest_to_centres


def blobs(sizes=(30, 50, 20), dim=6, seed=0):
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    return which, (rng.normal(scale=0.1, size=(len(which), dim)) + 10 * np.eye(dim)[which]).astype(np.float32)


@pytest.mark.parametrize("exact_below", [1000, 10])
def test_centres_are_the_means_of_separate_blobs(exact_below):
    which, points = blobs()
    centres = fit_kmeans(points, num_cells=3, rng=np.random.default_rng(0), exact_below=exact_below, num_starts=4)
    cells, _ = assign(points, centres)
    for blob in range(3):
        assert len(set(cells[which == blob].tolist())) == 1
        np.testing.assert_allclose(centres[cells[which == blob][0]], points[which == blob].mean(axis=0), atol=0.05 if exact_below == 10 else 1e-5)


@pytest.mark.parametrize("exact_below", [1000, 10])
def test_same_seed_same_centres(exact_below):
    points = np.random.default_rng(0).normal(size=(400, 5))
    fits = [fit_kmeans(points, num_cells=9, rng=np.random.default_rng(seed), exact_below=exact_below) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])


def test_as_many_cells_as_distinct_points():
    points = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    assert sorted(fit_kmeans(points, num_cells=3, rng=np.random.default_rng(0)).tolist()) == [[0.0, 2.0], [1.0, 0.0]]
    assert len(fit_kmeans(points, num_cells=1, rng=np.random.default_rng(0))) == 1


def test_assign_equals_the_slow_loop():
    rng = np.random.default_rng(3)
    points, centres = rng.normal(size=(9000, 4)).astype(np.float32), rng.normal(size=(7, 4)).astype(np.float32)
    cells, squares = assign(points, centres)
    for row in range(0, 9000, 500):
        distances = [float(((points[row] - centre) ** 2).sum()) for centre in centres]
        assert cells[row] == int(np.argmin(distances))
        assert squares[row] == pytest.approx(min(distances), abs=1e-4)


def test_nearest_points_are_distinct_and_greedy():
    rng = np.random.default_rng(4)
    points, centres = rng.normal(size=(40, 3)), rng.normal(size=(30, 3)).astype(np.float32)
    taken = []
    for centre in centres:
        taken.append(min((row for row in range(40) if row not in taken), key=lambda row: ((points[row] - centre) ** 2).sum()))
    assert nearest_to_centres(points, centres).tolist() == taken


def test_bad_input_is_refused():
    with pytest.raises(StrategyError, match="3 cells for 0 points"):
        fit_kmeans(np.empty((0, 2)), num_cells=3, rng=np.random.default_rng(0))
    with pytest.raises(StrategyError, match="row 1 is not finite"):
        fit_kmeans(np.array([[0.0], [np.nan], [1.0]]), num_cells=1, rng=np.random.default_rng(0))
    with pytest.raises(StrategyError, match="3 centres want a point of their own, there are 2"):
        nearest_to_centres(np.zeros((2, 1)), np.zeros((3, 1), np.float32))
