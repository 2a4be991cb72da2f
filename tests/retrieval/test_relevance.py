import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.errors import RetrievalError
from xmr_ray.retrieval import relevance
from xmr_ray.retrieval.relevance import grade_histogram, ideal_gain, pack_labels, shared_labels


@pytest.mark.parametrize("num_labels", [1, 7, 64, 65, 200])
def test_packed_words_count_shared_labels(num_labels):
    rng = np.random.default_rng(num_labels)
    left, right = rng.random((9, num_labels)) < 0.4, rng.random((13, num_labels)) < 0.4
    counts = shared_labels(pack_labels(left), pack_labels(right.astype(np.float32)))
    assert counts.tolist() == (left.astype(int) @ right.astype(int).T).tolist()


def test_more_than_255_shared_labels():
    everything = np.ones((1, 700))
    assert shared_labels(pack_labels(everything), pack_labels(everything)).tolist() == [[700]]


@pytest.mark.parametrize("cells", [1, 100, 1 << 17])
def test_histogram_of_grades(monkeypatch, cells):
    monkeypatch.setattr(relevance, "_CELLS_AT_ONCE", cells)
    rng = np.random.default_rng(0)
    left, right = rng.random((40, 5)) < 0.4, rng.random((60, 5)) < 0.4
    histogram = grade_histogram(pack_labels(left), pack_labels(right))
    for row, grades in zip(histogram, left.astype(int) @ right.astype(int).T, strict=True):
        assert row.tolist() == np.bincount(grades, minlength=histogram.shape[1]).tolist()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_ideal_gain_is_that_of_the_sorted_grades(grades):
    histogram = np.bincount(grades, minlength=6)[None]
    expected = [sum(g / math.log2(i + 2) for i, g in enumerate(sorted(grades, reverse=True)[:k])) for k in (1, 10, 50)]
    np.testing.assert_allclose(ideal_gain(histogram, [1, 10, 50])[0], expected, atol=1e-12)


def test_probabilities_are_refused():
    with pytest.raises(RetrievalError, match="row 1 hold values other than 0 and 1"):
        pack_labels(np.array([[1.0, 0.0], [0.3, 0.0]]))
    with pytest.raises(RetrievalError, match="shape"):
        pack_labels(np.zeros(3))
