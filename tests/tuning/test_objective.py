import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.tuning.objective import area, height_at, labels_to_reach, value_of

heights = st.floats(0, 1)
curves = st.lists(st.tuples(st.integers(1, 60), heights), min_size=1, max_size=6).map(
    lambda steps: list(zip(np.cumsum([step for step, _ in steps]).tolist(), [height for _, height in steps], strict=True))
)


@given(curves, st.integers(1, 400))
def test_the_area_is_the_mean_height_on_a_fine_comb(curve, up_to):
    xs = np.linspace(0, up_to, 20_001)
    ys = np.interp(xs, [0, *[x for x, _ in curve]], [0, *[y for _, y in curve]])
    assert area(curve, up_to=up_to) == pytest.approx(np.trapezoid(ys, xs) / up_to, abs=2e-4)
    assert height_at(curve, up_to) == pytest.approx(ys[-1], abs=1e-9)


def test_buying_the_same_quality_earlier_is_worth_more():
    assert area([(50, 0.5), (100, 0.6)]) > area([(50, 0.4), (100, 0.6)])
    assert area([(25, 0.4), (50, 0.5), (100, 0.6)]) > area([(100, 0.6)])


def test_labels_to_reach_a_height_lie_on_the_straight_line_and_the_first_crossing_counts():
    curve = [(50, 0.2), (100, 0.4), (150, 0.3), (200, 0.5)]
    assert labels_to_reach(curve, 0.35) == pytest.approx(87.5)
    assert labels_to_reach(curve, 0.45) == pytest.approx(187.5)
    assert labels_to_reach(curve, 0.6) is None
    assert labels_to_reach([], 0.1) is None


def test_whoever_reaches_the_target_is_worth_more_than_whoever_does_not_and_the_nearer_miss_more_than_the_farther():
    early, late = [(50, 0.2), (100, 0.6)], [(50, 0.2), (100, 0.5)]
    near, far = [(50, 0.2), (100, 0.45)], [(50, 0.2), (100, 0.3)]
    values = [value_of(curve, target=0.5) for curve in (early, late, near, far)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4
    assert values[1] == -100
