import itertools

import pytest

from xmr_ray.tuning.drawing import count_trials, draw
from xmr_ray.tuning.settings import TuneSettings

SPACE = {"a": {"kind": "choice", "values": ["x", "y"]}, "b": {"kind": "uniform", "low": 0, "high": 1}, "c": {"kind": "int", "low": 1, "high": 2}}


def draws(**content):
    settings = TuneSettings(space=SPACE, **content)
    return [draw(settings, index, earlier=(), default={}, target=None) for index in range(count_trials(settings))]


@pytest.mark.parametrize("algorithm", ["random", "grid", "optuna"])
def test_the_first_trial_is_the_default(algorithm):
    assert draws(algorithm=algorithm, num_trials=1) == [{}]


def test_a_grid_is_every_combination_once_and_no_more():
    found = draws(algorithm="grid", num_trials=99)
    assert [tuple(one.values()) for one in found[1:]] == list(itertools.product(["x", "y"], [0, 0.5, 1], [1, 2]))
    assert draws(algorithm="grid", num_trials=4) == found[:4]


@pytest.mark.parametrize("algorithm", ["random", "optuna"])
def test_a_draw_depends_on_seed_and_number_alone(algorithm):
    found = draws(algorithm=algorithm, num_trials=5)
    assert draws(algorithm=algorithm, num_trials=5) == found
    assert draws(algorithm=algorithm, num_trials=3) == found[:3]
    assert draws(algorithm=algorithm, num_trials=5, seed=1)[1:] != found[1:]
    assert len({one["b"] for one in found[1:]}) == 4
