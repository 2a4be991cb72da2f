import json
import math

import numpy as np
import pytest
from pydantic import ValidationError

from xmr_ray.tuning.dimensions import Choice, Integer, LogUniform, Uniform


def drawn(dimension, count=2000):
    rng = np.random.default_rng(0)
    return [dimension.draw(rng) for _ in range(count)]


def test_draws_fill_their_stretch_evenly_each_on_its_own_scale():
    flat, ratios = np.array(drawn(Uniform(low=2, high=6))), np.log10(drawn(LogUniform(low=0.01, high=100)))
    assert (flat.min() >= 2, flat.max() <= 6) == (True, True)
    # standard errors of the means of 2,000 draws: .026 of 4, .026 of 4 decades
    assert flat.mean() == pytest.approx(4, abs=0.12)
    assert ratios.mean() == pytest.approx(0, abs=0.12)
    assert np.quantile(ratios, 0.25) == pytest.approx(-1, abs=0.15)


def test_whole_numbers_come_up_to_both_ends_and_by_ratio_where_asked():
    counts = np.bincount(drawn(Integer(low=1, high=4)))
    assert counts[0] == 0
    assert counts[1:] == pytest.approx([500] * 4, abs=100)
    by_ratio = np.bincount(drawn(Integer(low=1, high=8, log=True)), minlength=9)
    widths = [math.log((k + 0.5) / (k - 0.5)) for k in range(1, 9)]
    expected = [2000 * width / sum(widths) for width in widths]
    assert by_ratio[1:] == pytest.approx(expected, abs=100)


def test_a_choice_may_be_of_anything_that_a_file_can_hold():
    choice = Choice(values=(50, [50, 100], {"kind": "random"}, None))
    found = drawn(choice, 100)
    assert all(value in choice.values for value in found)
    assert len({json.dumps(value) for value in found}) == 4


@pytest.mark.parametrize(
    ("model", "content"),
    [
        (Uniform, {"low": 1, "high": 1}),
        (LogUniform, {"low": 0, "high": 1}),
        (LogUniform, {"low": 2, "high": 1}),
        (Uniform, {"low": 0, "high": math.inf}),
        (Integer, {"low": 0, "high": 5, "log": True}),
        (Integer, {"low": 5, "high": 5}),
        (Choice, {"values": [1]}),
    ],
)
def test_a_stretch_that_is_none_is_refused(model, content):
    with pytest.raises(ValidationError):
        model(**content)


def test_grids_have_as_many_points_as_asked_and_hold_the_ends():
    assert Uniform(low=0, high=3, points=4).grid() == [0, 1, 2, 3]
    assert LogUniform(low=0.001, high=1, points=4).grid() == pytest.approx([0.001, 0.01, 0.1, 1])
    assert Integer(low=1, high=3, points=9).grid() == [1, 2, 3]
    for dimension in (Uniform(low=0, high=3), LogUniform(low=1, high=3), Integer(low=1, high=9)):
        assert dimension.ends() == [dimension.grid()[0], dimension.grid()[-1]] == [dimension.low, dimension.high]
