import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from xmr_ray.report.statistics import labels_to_reach, mean_height, mean_interval, student_t_probability, student_t_quantile


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 29, 60])
@pytest.mark.parametrize("t", [0.1, 1.0, 2.5, 12.7])
def test_probability_is_scipys(degrees, t):
    assert student_t_probability(t, degrees) == pytest.approx(1 - 2 * stats.t.sf(t, degrees), abs=1e-12)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 8, 19])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_quantile_is_scipys(degrees, confidence):
    assert student_t_quantile(confidence, degrees) == pytest.approx(stats.t.ppf((1 + confidence) / 2, degrees), rel=1e-9)


@pytest.mark.parametrize("num", [2, 3, 5, 10])
def test_interval_is_scipys(num):
    values = np.random.default_rng(num).normal(0.6, 0.02, num)
    low, high = stats.t.interval(0.95, num - 1, loc=values.mean(), scale=stats.sem(values))
    interval = mean_interval(values.tolist())
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-9)
    assert interval.num == num


def test_one_seed_gives_no_interval():
    interval = mean_interval([0.5])
    assert (interval.mean, interval.half, interval.low, interval.high) == (0.5, None, 0.5, 0.5)


def test_first_crossing_counts_even_if_the_curve_falls_again():
    assert labels_to_reach([(10, 0.2), (20, 0.6), (30, 0.3), (40, 0.9)], 0.4) == pytest.approx(15.0)


def test_start_above_the_target_gives_the_first_labels():
    assert labels_to_reach([(50, 0.5), (100, 0.6)], 0.4) == 50.0


def test_unreached_and_empty():
    assert labels_to_reach([(50, 0.5), (100, 0.6)], 0.61) is None
    assert labels_to_reach([], 0.1) is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(0, 1))
def test_the_crossing_lies_on_the_curve(values, target):
    curve = [(10.0 * (i + 1), value) for i, value in enumerate(values)]
    labels = labels_to_reach(curve, target)
    if labels is None:
        assert max(values) < target
    else:
        height = np.interp(labels, [x for x, _ in curve], values)
        assert height == pytest.approx(target, abs=1e-6) or labels == 10.0


def test_mean_height_is_a_fine_riemann_sum():
    curve = [(50, 0.4), (100, 0.5), (400, 0.65), (800, 0.7)]
    xs = np.linspace(75, 600, 200_001)
    expected = np.interp(xs, [50, 100, 400, 800], [0.4, 0.5, 0.65, 0.7]).mean()
    assert mean_height(curve, start=75, stop=600) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("start", "stop"), [(40, 100), (50, 900), (100, 100)])
def test_no_mean_height_where_the_curve_does_not_reach(start, stop):
    assert mean_height([(50, 0.4), (800, 0.7)], start=start, stop=stop) is None
