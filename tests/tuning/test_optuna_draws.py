import builtins

import numpy as np
import pytest

from xmr_ray.errors import ConfigError
from xmr_ray.tuning.drawing import draw
from xmr_ray.tuning.optuna_draws import propose
from xmr_ray.tuning.records import TrialRecord
from xmr_ray.tuning.settings import TuneSettings

SPACE = {"a": {"kind": "log_uniform", "low": 0.01, "high": 100}, "b": {"kind": "choice", "values": [[1, 2], {"kind": "x"}, None]}}
SETTINGS = TuneSettings(space=SPACE, num_trials=40)


def worth(overrides):
    """Best at a = 3 and the second choice."""
    return 0.6 - 0.1 * abs(np.log10(overrides["a"] / 3)) - (0.2 if overrides["b"] != {"kind": "x"} else 0)


def searched(settings=SETTINGS, num=40, stop_below=None):
    records = [TrialRecord(0, {}, "finished", ((50, 0.3),))]
    for index in range(1, num):
        overrides = draw(settings, index, earlier=records, default={"a": None, "b": None}, target=None)
        value = worth(overrides)
        stopped = stop_below is not None and value < stop_below
        records.append(TrialRecord(index, overrides, "stopped" if stopped else "finished", ((25, value),) if stopped else ((25, value), (50, value))))
    return records


@pytest.mark.parametrize("stop_below", [None, 0.5])
def test_later_proposals_are_better_than_the_first_ones(stop_below):
    values = [worth(record.overrides) for record in searched(stop_below=stop_below)[1:]]
    assert np.mean(values[-15:]) > np.mean(values[:5]) + 0.05


def test_a_proposal_is_the_same_whenever_it_is_made_and_other_records_make_another():
    records = searched(num=20)
    again = [propose(SETTINGS, 20, earlier=records, default={}, target=None) for _ in range(2)]
    assert again[0] == again[1] != propose(SETTINGS, 20, earlier=records[:12], default={}, target=None)


def test_values_are_those_of_the_space_and_may_be_lists_and_components():
    for record in searched(num=12)[1:]:
        assert 0.01 <= record.overrides["a"] <= 100
        assert record.overrides["b"] in SETTINGS.space["b"].values


def test_what_was_refused_and_a_default_outside_the_space_are_left_out():
    records = [TrialRecord(0, {}, "finished", ((50, 0.3),)), TrialRecord(1, {"a": 1.0, "b": None}, "refused", why="no")]
    found = propose(SETTINGS, 2, earlier=records, default={"a": None, "b": None}, target=None)
    assert found == propose(SETTINGS, 2, earlier=[], default={}, target=None)


def test_two_objectives_and_a_target_are_searched_too():
    for settings, target in ((SETTINGS.model_copy(update={"objective": "pareto"}), None), (SETTINGS, 0.5)):
        records = searched(num=12, stop_below=0.5)
        found = propose(settings, 12, earlier=records, default={}, target=target)
        assert found == propose(settings, 12, earlier=records, default={}, target=target)


def test_without_the_package_the_extra_is_named(monkeypatch):
    plain = builtins.__import__

    def without(name, *rest):
        if name == "optuna":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'xmr-ray\[tune\]', or set tune.algorithm=random"):
        propose(SETTINGS, 1, earlier=[], default={}, target=None)
