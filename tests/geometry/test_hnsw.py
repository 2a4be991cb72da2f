import numpy as np
import pytest

from xmr_ray.errors import StrategyError
from xmr_ray.geometry.hnsw import Hnsw, HnswIndex
from xmr_ray.geometry.nearest import measure_recall
from xmr_ray.geometry.neighbours import Exact


def clustered(num_points, dim, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, dim))
    return (centres[rng.integers(0, 40, num_points)] + 0.4 * rng.normal(size=(num_points, dim))).astype(np.float32)


def test_agrees_with_exact_search_on_clustered_points():
    points = clustered(3000, 24)
    rows = np.arange(3000)
    exact = Exact().search(points, points, k=10, own_rows_Q=rows)
    found = Hnsw(ef=100).search(points, points, k=10, own_rows_Q=rows)
    assert measure_recall(found, exact) > 0.98
    same = found.ids_QK == exact.ids_QK
    np.testing.assert_allclose(found.squares_QK[same], exact.squares_QK[same], rtol=1e-4)
    assert not (found.ids_QK == rows[:, None]).any()
    assert (np.diff(found.squares_QK, axis=1) >= 0).all()


def test_recall_rises_with_ef_on_points_without_structure():
    points = np.random.default_rng(2).normal(size=(3000, 48)).astype(np.float32)
    exact = Exact().search(points[:200], points, k=10)
    low, high = (measure_recall(Hnsw(m=4, ef_construction=20, ef=ef).search(points[:200], points, k=10), exact) for ef in (1, 400))
    assert low < 0.5 < high - 0.2


def test_the_same_points_give_the_same_index_and_a_saved_one_answers_as_before(tmp_path):
    points, ids = clustered(500, 8), np.random.default_rng(0).permutation(500) + 2**40
    files = []
    for name in ("a", "b"):
        index = Hnsw().start_index(8, capacity=500, seed=7)
        for start in range(0, 500, 64):
            index.add(ids[start : start + 64], points[start : start + 64])
        index.save(str(tmp_path / name))
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    loaded = HnswIndex.load(str(tmp_path / "a"), dim=8)
    assert len(loaded) == 500
    before, after = (one.search(points, k=5, ef=50, own_ids_Q=ids) for one in (index, loaded))
    np.testing.assert_array_equal(before.ids_QK, after.ids_QK)
    np.testing.assert_array_equal(before.squares_QK, after.squares_QK)


def test_an_index_smaller_than_k_leaves_places_empty():
    index = Hnsw().start_index(2, capacity=3, seed=0)
    assert index.search(np.zeros((1, 2)), k=2, ef=10, own_ids_Q=np.array([-1])).ids_QK.tolist() == [[-1, -1]]
    index.add(np.array([4, 9]), np.array([[0.0, 0.0], [3.0, 4.0]]))
    found = index.search(np.zeros((2, 2)), k=3, ef=10, own_ids_Q=np.array([4, -1]))
    assert found.ids_QK.tolist() == [[9, -1, -1], [4, 9, -1]]
    assert found.squares_QK.tolist() == [[25.0, np.inf, np.inf], [0.0, 25.0, np.inf]]


class Unreachable:
    """Stands for an index whose graph does not reach enough points with fewer than `needed` candidates."""

    def __init__(self, index, needed):
        self._index, self._needed, self.efs = index, needed, []

    def set_ef(self, ef):
        self.efs.append(ef)
        self._index.set_ef(ef)

    def knn_query(self, queries, **options):
        if self.efs[-1] < self._needed:
            raise RuntimeError("Cannot return the results in a contiguous 2D array")
        return self._index.knn_query(queries, **options)

    def __getattr__(self, name):
        return getattr(self._index, name)


@pytest.mark.parametrize(("needed", "efs"), [(60, [20, 40, 80]), (1000, [20, 40, 80, 100])])
def test_points_that_are_not_reached_are_looked_for_with_more_candidates_and_then_exactly(needed, efs):
    points = clustered(100, 4)
    index = Hnsw().start_index(4, capacity=100, seed=0)
    index.add(np.arange(100), points)
    index._index = Unreachable(index._index, needed)
    found = index.search(points, k=5, ef=20, own_ids_Q=np.arange(100))
    exact = Exact().search(points, points, k=5, own_rows_Q=np.arange(100))
    assert index._index.efs == efs
    assert found.ids_QK.tolist() == exact.ids_QK.tolist()


def test_candidates_to_try():
    assert Hnsw(ef=10, max_ef=100).efs(4) == [10, 20, 40, 80, 100]
    assert Hnsw(ef=10, max_ef=40).efs(4) == [10, 20, 40]
    assert Hnsw(ef=10, max_ef=10).efs(9) == [10]
    assert Hnsw(ef=10, max_ef=10).efs(10) == []
    with pytest.raises(StrategyError, match="asked for 4 of 3"):
        Hnsw().search(np.zeros((4, 2)), np.zeros((4, 2)), k=4, own_rows_Q=np.arange(4))
