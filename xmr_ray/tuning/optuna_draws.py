"""Configurations proposed by Optuna's tree-structured Parzen estimator, anew for each trial from the records of those before it.

Nothing of a study is kept between trials: it is built from the records, so a search that is restored goes on as if it had not stopped.
Source: [TPE].
"""

import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from xmr_ray.errors import ConfigError
from xmr_ray.geometry.hashing import derive_key
from xmr_ray.tuning.dimensions import AnyDimension, Choice, Integer, LogUniform
from xmr_ray.tuning.objective import value_of
from xmr_ray.tuning.records import Overrides, TrialRecord
from xmr_ray.tuning.settings import TuneSettings

STARTUP = 5
"""Trials drawn at random before the estimator has something to say."""


def require_optuna() -> ModuleType:
    """The package; raises `ConfigError` where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tune.algorithm is 'optuna', which is not installed: pip install 'xmr-ray[tune]', or set tune.algorithm=random") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def propose(settings: TuneSettings, index: int, *, earlier: Sequence[TrialRecord], default: Overrides, target: float | None) -> dict[str, Any]:
    """The overrides of trial `index`: those that a fresh study with the `earlier` trials in it asks for.

    Stopped trials are pruned ones to the estimator; with objective `pareto` they count as what they are, few labels and their mAP.
    """
    optuna = require_optuna()
    distributions = {path: _distribution(optuna, dimension) for path, dimension in settings.space.items()}
    pareto = settings.objective == "pareto"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna tells of its own experiments
        sampler = optuna.samplers.TPESampler(seed=derive_key(settings.seed, index, "trial") % 2**32, n_startup_trials=STARTUP)
        study = optuna.create_study(directions=["minimize", "maximize"] if pareto else ["maximize"], sampler=sampler)
        for record in earlier:
            told = _told(optuna, settings, record, distributions, default=default, target=target)
            if told is not None:
                study.add_trial(told)
        params = study.ask(distributions).params
    return {path: _value(dimension, params[path]) for path, dimension in settings.space.items()}


def _distribution(optuna: ModuleType, dimension: AnyDimension) -> Any:
    if isinstance(dimension, Choice):  # by position: Optuna's categories cannot be lists or components
        return optuna.distributions.CategoricalDistribution(tuple(range(len(dimension.values))))
    if isinstance(dimension, Integer):
        return optuna.distributions.IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))


def _told(
    optuna: ModuleType, settings: TuneSettings, record: TrialRecord, distributions: dict[str, Any], *, default: Overrides, target: float | None
) -> Any:
    """A record as a trial of a study; None for one without a curve, and for a default outside the space."""
    values = {**default, **record.overrides}
    params = {path: _position(dimension, values.get(path)) for path, dimension in settings.space.items()}
    if not record.curve or any(param is None or not distributions[path]._contains(param) for path, param in params.items()):
        return None
    shared = {"params": params, "distributions": distributions}
    if settings.objective == "pareto":
        return optuna.trial.create_trial(values=[float(record.labels), record.curve[-1][1]], **shared)
    value = value_of(record.curve, target=target)
    if record.status == "stopped":
        return optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, intermediate_values={record.labels: value}, **shared)
    return optuna.trial.create_trial(value=value, **shared)


def _position(dimension: AnyDimension, value: Any) -> Any:
    if isinstance(dimension, Choice):
        return dimension.values.index(value) if value in dimension.values else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _value(dimension: AnyDimension, param: Any) -> Any:
    return dimension.values[param] if isinstance(dimension, Choice) else param
