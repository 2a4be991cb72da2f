import io

import numpy as np
import pytest
from PIL import Image

from xmr_ray.report.sweep_figures import both_themes, draw_curves, draw_importance, draw_parallel, height_of
from xmr_ray.tuning.dimensions import Choice, Integer, LogUniform, Uniform
from xmr_ray.tuning.records import TrialRecord

SPACE = {"a": Uniform(low=0, high=1), "b.c": Choice(values=("x", [1, 2]))}
RECORDS = [
    TrialRecord(2, {"a": 0.9, "b.c": "x"}, "finished", ((50, 0.5), (100, 0.6))),
    TrialRecord(0, {}, "finished", ((50, 0.4), (100, 0.5))),
    TrialRecord(1, {"a": 0.1, "b.c": [1, 2]}, "stopped", ((50, 0.3),)),
    TrialRecord(3, {"a": 0.2, "b.c": "x"}, "refused", why="no"),
]
ORANGE, BLUE, INK = (0xC1, 0x4A, 0x09), (0x00, 0x72, 0xB2), (0x1B, 0x1F, 0x24)


def pixels(data, colour):
    """How many pixels are about of a colour."""
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)
    return int((np.abs(image - colour).sum(axis=2) < 24).sum())


@pytest.mark.parametrize(
    ("dimension", "value", "expected"),
    [
        (Uniform(low=2, high=6), 3, 0.25),
        (LogUniform(low=0.01, high=100), 1, 0.5),
        (Integer(low=0, high=4), 4, 1),
        (Integer(low=1, high=100, log=True), 10, 0.5),
        (Choice(values=(1, 2, 3)), 1, 0),
    ],
)
def test_a_value_lies_where_its_scale_says(dimension, value, expected):
    assert height_of(dimension, value) == pytest.approx(expected)


def test_the_best_trial_is_orange_and_only_where_it_has_settings():
    names = {"a": "a", "b.c": "c"}
    found = both_themes(lambda theme: draw_parallel(RECORDS, SPACE, names, theme=theme))
    assert pixels(found["light"], ORANGE) > 500
    assert found["light"] != found["dark"]
    default_first = [RECORDS[1], RECORDS[0], *RECORDS[2:]]
    drawn = both_themes(lambda theme: draw_parallel(default_first, SPACE, names, theme=theme))["light"]
    assert pixels(drawn, ORANGE) == 0, "the default has no line across the settings"


def test_points_of_the_front_are_ringed():
    plain, ringed = (
        both_themes(lambda theme, front=front: draw_curves(RECORDS, front, theme=theme))["light"] for front in ([], [(RECORDS[0], 50, 0.5)])
    )
    assert pixels(ringed, INK) > pixels(plain, INK)


def test_a_bar_is_as_long_as_its_share():
    long, short = (both_themes(lambda theme, share=share: draw_importance({"a": share}, {"a": "a"}, theme=theme))["light"] for share in (0.8, 0.2))
    assert pixels(long, BLUE) == pytest.approx(4 * pixels(short, BLUE), rel=0.05)


def test_a_search_of_nothing_but_the_default_still_has_pictures():
    only = [RECORDS[1]]
    assert both_themes(lambda theme: draw_parallel(only, SPACE, {"a": "a", "b.c": "c"}, theme=theme))["light"][:4] == b"\x89PNG"
    assert both_themes(lambda theme: draw_curves(only, [], theme=theme))["light"][:4] == b"\x89PNG"
