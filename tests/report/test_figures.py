import io

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.report.arms import Point
from xmr_ray.report.figures import DARK, LIGHT, Line, Panel, draw_curves, figure_files, spread, thin_ticks
from xmr_ray.report.statistics import Interval

pytestmark = pytest.mark.slow  # pictures are drawn


def line(arm, position, values, half=0.01):
    points = [Point(50 * 2**k, Interval(value, half, 1 if half is None else 3), whole=k < 2) for k, value in enumerate(values)]
    return Line(arm, position, points)


def pixels(data):
    return matplotlib.image.imread(io.BytesIO(data), format="png")[:, :, :3]


def has_colour(image, colour):
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return bool((np.abs(image - wanted).max(axis=2) < 0.02).any())


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("narrow", [False, True])
def test_both_themes_and_widths(theme, narrow):
    panel = Panel("mAP", [line("random", 0, [0.4, 0.5, 0.6]), line("a $x_1$ name", 1, [0.4, 0.6, 0.7], None)], (1000, Interval(0.8, None, 1)), (0.9,))
    image = pixels(draw_curves([panel, panel], theme=theme, narrow=narrow, axis="auto"))
    assert (image.shape[1] > image.shape[0]) != narrow
    assert np.abs(image[0, 0] * 255 - [int(theme.background[i : i + 2], 16) for i in (1, 3, 5)]).max() < 1
    assert has_colour(image, "#56b4e9" if theme.dark else "#0072b2")
    assert has_colour(image, theme.ink)


def test_names_stay_within_the_picture():
    panel = Panel("mAP", [line("a_rather_long_arm_name", 1, [0.4, 0.5, 0.6])], None)
    for narrow in (False, True):
        image = pixels(draw_curves([panel, panel], theme=LIGHT, narrow=narrow, axis="linear"))
        assert (image[:, -10:] == 1.0).all()
        assert (image[:10] == 1.0).all()
        assert (image[-4:] == 1.0).all()


def test_one_round_and_no_arm_can_be_drawn():
    full = (1000, Interval(0.8, 0.01, 3))
    alone = draw_curves([Panel("mAP", [line("random", 0, [0.5])], full, (0.9,))], theme=LIGHT, narrow=False, axis="auto")
    empty = draw_curves([Panel("mAP", [], full)], theme=LIGHT, narrow=False, axis="auto")
    assert has_colour(pixels(alone), "#6b7280")
    assert has_colour(pixels(empty), LIGHT.ink)


def test_same_input_same_bytes():
    panels = {"curve": [Panel("mAP", [line("random", 0, [0.4, 0.5])], None)]}
    assert figure_files(panels, axis="log") == figure_files(panels, axis="log")
    assert set(figure_files(panels, axis="log")["curve"]) == {"light", "dark", "light-narrow", "dark-narrow"}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.3))
def test_spread_keeps_order_and_distance(heights, gap):
    placed = spread(heights, gap)
    order = np.argsort(heights, kind="stable")
    assert np.all(np.diff(np.array(placed)[order]) >= gap - 1e-9)
    assert np.mean(placed) == pytest.approx(np.mean(heights))


def test_spread_leaves_what_has_room():
    assert spread([0.9, 0.1, 0.5], 0.2) == [0.9, 0.1, 0.5]


@given(st.sets(st.integers(1, 100_000), min_size=1, max_size=40), st.booleans())
def test_ticks_hold_both_ends_and_do_not_crowd(labels, logarithmic):
    ordered = sorted(labels)
    ticks = thin_ticks(ordered, logarithmic=logarithmic)
    assert ticks[0] == ordered[0]
    assert ticks[-1] == ordered[-1]
    assert set(ticks) <= labels
    assert len(ticks) <= 8
