"""Which configuration a trial has: a function of the settings, the trial's number and the trials before it, never of time."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from xmr_ray.geometry.hashing import derive_key
from xmr_ray.tuning.optuna_draws import propose
from xmr_ray.tuning.records import Overrides, TrialRecord
from xmr_ray.tuning.settings import TuneSettings


def count_trials(settings: TuneSettings) -> int:
    """Trials of the search: the default and what is drawn; a grid may have fewer than were asked for.

    >>> count_trials(TuneSettings(space={"a": {"kind": "choice", "values": [1, 2]}}, algorithm="grid"))
    3
    """
    if settings.algorithm != "grid":
        return settings.num_trials
    points = 1
    for dimension in settings.space.values():
        points *= len(dimension.grid())
    return min(settings.num_trials, 1 + points)


def draw(settings: TuneSettings, index: int, *, earlier: Sequence[TrialRecord], default: Overrides, target: float | None) -> dict[str, Any]:
    """The overrides of trial `index`; trial 0 is the default configuration, which has none.

    Args:
        settings: the space, the algorithm and the seed.
        index: number of the trial.
        earlier: trials that had ended by rule when this one began; only `optuna` looks at them.
        default: what the default configuration has at the paths of the space.
        target: mAP to reach (labels_to_share), None for the area.
    """
    if index == 0:
        return {}
    if settings.algorithm == "grid":
        points = itertools.product(*(dimension.grid() for dimension in settings.space.values()))
        return dict(zip(settings.space, next(itertools.islice(points, index - 1, None)), strict=True))
    if settings.algorithm == "random":
        rng = np.random.default_rng(derive_key(settings.seed, index, "trial"))
        return {path: dimension.draw(rng) for path, dimension in settings.space.items()}
    return propose(settings, index, earlier=earlier, default=default, target=target)
