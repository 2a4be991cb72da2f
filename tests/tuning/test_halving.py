import numpy as np
import pytest

from xmr_ray.tuning.halving import goes_on, rungs


def test_rungs_are_powers_from_the_grace_on_and_none_at_the_end():
    assert rungs(8, grace_rounds=2, reduction_factor=3) == [2, 6]
    assert rungs(6, grace_rounds=2, reduction_factor=3) == [2]
    assert rungs(1, grace_rounds=1, reduction_factor=3) == []


def test_about_one_of_so_many_goes_on():
    rng = np.random.default_rng(0)
    heights = rng.uniform(size=600)
    kept = sum(goes_on([(50, height)], [[(50, other)] for other in heights[:index]], reduction_factor=3) for index, height in enumerate(heights))
    # the chance of being in the upper third of those before, a little more at the beginning; standard error of 600: .02
    assert kept / 600 == pytest.approx(1 / 3, abs=0.06)


def test_trials_are_compared_at_the_labels_of_the_one_that_is_judged():
    fast, slow = [(50, 0.5), (200, 0.5)], [(50, 0.4), (200, 0.9)]
    assert goes_on([(50, 0.45)], [slow], reduction_factor=2), "what the other had later does not count"
    assert not goes_on([(50, 0.45)], [fast], reduction_factor=2)


def test_trials_that_ended_with_fewer_labels_are_not_looked_at():
    assert goes_on([(50, 0.1), (100, 0.1)], [[(50, 0.9)]], reduction_factor=2)
    assert goes_on([(50, 0.1)], [[]], reduction_factor=2)


def test_equal_trials_all_go_on():
    assert goes_on([(50, 0.3)], [[(50, 0.3)]] * 5, reduction_factor=4)
