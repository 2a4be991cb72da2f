import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy as scipy_entropy

from xmr_ray.scoring.uncertainty import MEASURES, entropy, least_confidence, margin

PROBABILITIES = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 7)), elements=st.floats(0, 1))


def normalised(p_BC):
    p_BC = p_BC + 1e-9
    return p_BC / p_BC.sum(axis=1, keepdims=True)


@given(PROBABILITIES)
def test_entropy_equals_scipy(p_BC):
    single = normalised(p_BC)
    np.testing.assert_allclose(entropy(single, multi_label=False), scipy_entropy(single, axis=1), atol=1e-12)
    slow = [np.mean([scipy_entropy([p, 1 - p]) for p in row]) for row in p_BC]
    np.testing.assert_allclose(entropy(p_BC, multi_label=True), slow, atol=1e-12)


@given(PROBABILITIES)
def test_margin_and_least_confidence_equal_a_slow_loop(p_BC):
    single = normalised(p_BC)
    for i, row in enumerate(single):
        best, second = sorted(row, reverse=True)[:2]
        assert margin(single, multi_label=False)[i] == pytest.approx(1 - (best - second))
        assert least_confidence(single, multi_label=False)[i] == pytest.approx(1 - best)
    for i, row in enumerate(p_BC):
        assert margin(p_BC, multi_label=True)[i] == pytest.approx(1 - min(abs(2 * p - 1) for p in row))
        assert least_confidence(p_BC, multi_label=True)[i] == pytest.approx(np.mean([min(p, 1 - p) for p in row]))


def test_a_single_class_leaves_nothing_to_doubt():
    certain = np.ones((3, 1), np.float32)
    for measure in MEASURES.values():
        assert measure(certain, multi_label=False).tolist() == [0.0, 0.0, 0.0]
