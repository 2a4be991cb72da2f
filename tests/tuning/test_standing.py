import numpy as np
import pytest
from scipy.stats import spearmanr

from xmr_ray.tuning.dimensions import Choice, Uniform
from xmr_ray.tuning.records import TrialRecord
from xmr_ray.tuning.standing import front, importance, ordered


def trial(index, *curve, status="finished", **overrides):
    return TrialRecord(index, overrides, status, tuple(curve))


def test_finished_trials_come_first_then_stopped_ones_by_how_far_they_came_then_refused_ones():
    records = [
        trial(0, (50, 0.4), (100, 0.5)),
        trial(1, (50, 0.9), status="stopped"),
        trial(2, (50, 0.5), (100, 0.6)),
        trial(3, (50, 0.1), (75, 0.1), status="stopped"),
        trial(4, status="refused"),
        trial(5, (50, 0.4), (100, 0.5)),
    ]
    assert [record.index for record in ordered(records, target=None)] == [2, 0, 5, 3, 1, 4]
    assert [record.index for record in ordered(records, target=0.45)][:3] == [2, 0, 5]


def test_the_front_is_every_round_that_none_beats():
    rng = np.random.default_rng(0)
    records = [trial(index, *[(50 * (k + 1), float(rng.uniform())) for k in range(4)]) for index in range(6)]
    points = [(record.index, labels, height) for record in records for labels, height in record.curve]
    # slow and obvious: nobody has as few labels and as much mAP, with one of them better
    beaten = lambda p: any(q[1] <= p[1] and q[2] >= p[2] and q[1:] != p[1:] for q in points)
    expected = sorted((p for p in points if not beaten(p)), key=lambda p: p[1])
    assert [(record.index, labels, height) for record, labels, height in front(records)] == expected
    assert front([]) == []


def test_importance_of_numbers_is_the_squared_rank_correlation():
    rng = np.random.default_rng(1)
    values = [{"a": float(rng.uniform()), "b": float(np.round(rng.uniform(), 1))} for _ in range(20)]
    records = [trial(i + 1, (50, value["a"] ** 3 + 0.2 * float(rng.uniform())), **value) for i, value in enumerate(values)]
    space = {"a": Uniform(low=0, high=1), "b": Uniform(low=0, high=1)}
    found = importance([trial(0, (50, 0.9)), *records], space, target=None)
    heights = [record.curve[0][1] for record in records]
    for path in space:
        assert found[path] == pytest.approx(spearmanr([value[path] for value in values], heights).statistic ** 2, abs=1e-9)
    assert list(found) == ["a", "b"]


def test_importance_of_a_choice_that_decides_everything_is_near_one_and_of_one_that_decides_nothing_near_zero():
    records = [trial(i, (50, 0.1 * (i % 2) + 0.001 * i), a=["x", "y"][i % 2], b=["x", "y"][i // 2 % 2]) for i in range(1, 41)]
    found = importance(records, {"a": Choice(values=("x", "y")), "b": Choice(values=("x", "y"))}, target=None)
    # two groups of 20 ranks that do not overlap: 1 - (20^2 - 1) / (40^2 - 1)
    assert found["a"] == pytest.approx(1 - (20**2 - 1) / (40**2 - 1))
    assert found["b"] < 0.05


def test_too_few_trials_and_a_setting_that_never_changed_explain_nothing():
    space = {"a": Uniform(low=0, high=1)}
    assert importance([trial(1, (50, 0.1), a=0.2)], space, target=None) == {"a": 0.0}
    assert importance([trial(i, (50, 0.1 * i), a=0.2) for i in range(1, 6)], space, target=None) == {"a": 0.0}
