import numpy as np
import pytest

from xmr_ray.errors import RetrievalError
from xmr_ray.retrieval import similarity
from xmr_ray.retrieval.similarity import Gallery, distinct_rows, unit_rows


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unit_rows_have_length_one(dtype):
    rows = np.random.default_rng(0).standard_normal((20, 300)).astype(dtype)
    units = unit_rows(rows, np.arange(20), what="query")
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(units, exact / np.linalg.norm(exact, axis=1, keepdims=True), atol=1e-7)
    assert units.dtype == np.float32


def test_tiny_and_huge_rows_keep_their_direction():
    rows = np.array([[3e-30, 4e-30], [3e30, 4e30], [0.3, 0.4]])
    np.testing.assert_allclose(unit_rows(rows, np.arange(3), what="query"), [[0.6, 0.8]] * 3, atol=1e-6)


@pytest.mark.parametrize(("row", "state"), [([0.0, 0.0], "a row of zeros"), ([np.inf, 0.0], "not finite"), ([np.nan, 1.0], "not finite")])
def test_rows_without_direction_name_their_pair(row, state):
    with pytest.raises(RetrievalError, match=f"gallery embedding of pair_id 77 is {state}"):
        unit_rows(np.array([[1.0, 2.0], row]), np.array([5, 77]), what="gallery")


def test_shape_must_fit_the_ids():
    with pytest.raises(RetrievalError, match=r"shape \(2, 3\); expected \(4, D\)"):
        unit_rows(np.ones((2, 3)), np.arange(4), what="query")


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("slab", [4096, 17])
def test_similarities_are_cosines_and_duplicates_are_bit_equal(monkeypatch, fast, slab):
    monkeypatch.setattr(similarity, "_ROWS_OF_SLAB", slab)
    rng = np.random.default_rng(1)
    rows = unit_rows(rng.standard_normal((151, 200)), np.arange(151), what="gallery")
    rows[[3, 88, 150]] = rows[40]
    queries = unit_rows(rng.standard_normal((9, 200)), np.arange(9), what="query")
    gallery = Gallery(rows)
    if not fast:
        monkeypatch.setattr(similarity.torch.backends.mkldnn, "is_available", lambda: False)
        gallery = Gallery(rows)
    cosines = gallery.similarities(queries)
    np.testing.assert_allclose(cosines, queries.astype(np.float64) @ rows.T.astype(np.float64), atol=1e-6)
    for row in (3, 88, 150):
        np.testing.assert_array_equal(cosines[:, row], cosines[:, 40])


def test_distinct_rows_where_many_rows_have_equal_sums():
    rng = np.random.default_rng(2)
    rows = np.zeros((200, 20), np.float32)
    rows[np.arange(200), rng.integers(16, 20, 200)] = 1
    rows[::50, 0] = -0.0
    first, inverse = distinct_rows(rows)
    assert len(first) == 4
    np.testing.assert_array_equal(rows[first][inverse], rows)
