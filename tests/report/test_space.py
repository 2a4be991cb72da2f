import io

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.report.experiment import read_experiment
from xmr_ray.report.figures import DARK, LIGHT
from xmr_ray.report.space import Space, draw_space, named_rounds, read_space, round_colours, space_files

pytestmark = pytest.mark.slow  # pictures are drawn


def space(*, sizes=(30, 12, 8), stretch=(3.0, 1.0)):
    rounds = np.repeat(np.arange(-1, len(sizes) - 1), sizes)
    xy = np.random.default_rng(0).normal(size=(len(rounds), 2)) * stretch
    return Space("ascmr", 0, len(sizes) - 2, 0.4, True, xy, rounds)


def pixels(data):
    return matplotlib.image.imread(io.BytesIO(data), format="png")[:, :, :3]


def share_of(image, colour):
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return float((np.abs(image - wanted).max(axis=2) < 0.02).mean())


def read_only_run(path):
    return read_space(read_experiment(str(path)).runs[0])


def test_the_last_described_round_is_read_even_if_unfinished(tmp_path, make):
    run = make.run(tmp_path, "ascmr", 3, [(4, 0.3, 0.3), (8, 0.4, 0.4), (12, 0.5, 0.5)])
    assert read_only_run(tmp_path) is None
    make.description(run.round(1), bought=(4,))
    assert read_only_run(tmp_path).round_index == 1
    make.purchase(run.round(3), [1, 2], answered=False)
    make.description(run.round(3), numbers={"space": "embedding"}, bought=(4, 3, 2))
    found = read_only_run(tmp_path)
    assert (found.name, found.round_index, found.variance_shown, found.has_heads) == ("ascmr-s3", 3, 0.42, False)
    assert np.bincount(found.round_K + 1).tolist() == [30, 4, 3, 2]
    assert abs(found.xy_K2[found.round_K == 2] - [2, 4]).max() < 0.5


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_round_has_its_colour_over_the_grey_pool(theme):
    image = pixels(draw_space(space(), theme=theme))
    grey = "#505863" if theme.dark else "#b4bac3"
    for colour in (grey, *round_colours([0, 1], dark=theme.dark)):
        assert share_of(image, colour) > 1e-4
    legend_only = pixels(draw_space(space(sizes=(30,)), theme=theme))
    assert share_of(legend_only, round_colours([0], dark=theme.dark)[0]) == 0


@pytest.mark.parametrize("stretch", [(3.0, 1.0), (1.0, 9.0), (5.0, 0.0), (0.0, 0.0)])
def test_nothing_touches_the_border_whatever_the_shape(stretch):
    image = pixels(draw_space(space(sizes=(30, *([5] * 14)), stretch=stretch), theme=LIGHT))
    for edge in (image[:8], image[-8:], image[:, :6], image[:, -6:]):
        assert (edge == 1.0).all()


@given(st.integers(0, 60), st.booleans())
def test_colours_are_distinct_and_the_legend_is_bounded_with_both_ends(num, dark):
    rounds = list(range(num))
    assert len(set(round_colours(rounds, dark=dark))) == num
    named = named_rounds(rounds)
    assert len(named) == len(set(named)) == min(num, 8)
    assert named[:1] + named[-1:] == rounds[:1] + rounds[-1:]


def test_files_of_both_themes_are_the_same_each_time():
    files = space_files([space()])
    assert files == space_files([space()])
    assert {name: set(forms) for name, forms in files.items()} == {"space_ascmr-s0": {"light", "dark"}}
