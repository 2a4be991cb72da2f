"""Uncertainty measures: functions of calibrated label probabilities giving one number per pair; higher is more uncertain."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from xmr_ray.types import Floats

Measure = Callable[..., NDArray[np.float64]]


def entropy(probabilities_BC: Floats, *, multi_label: bool) -> NDArray[np.float64]:
    """Entropy in nats (B,): of the class distribution, or the mean Bernoulli entropy of the labels ([Settles 2009]).

    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]]), multi_label=False).round(4).tolist()
    [0.6931, 0.0]
    """
    p_BC = np.asarray(probabilities_BC, dtype=np.float64)
    terms_BC = -_xlogx(p_BC)
    if multi_label:
        return np.asarray((terms_BC - _xlogx(1.0 - p_BC)).mean(axis=1))
    return np.asarray(terms_BC.sum(axis=1))


def margin(probabilities_BC: Floats, *, multi_label: bool) -> NDArray[np.float64]:
    """One minus the margin (B,), in [0, 1]: between the two likeliest classes, or of the most doubtful label, 1 - min |2p - 1|.

    >>> margin(np.array([[0.5, 0.3, 0.2]]), multi_label=False).round(4).tolist()
    [0.8]
    >>> margin(np.array([[0.9, 0.4]]), multi_label=True).round(4).tolist()
    [0.8]
    """
    p_BC = np.asarray(probabilities_BC, dtype=np.float64)
    if multi_label:
        return np.asarray(1.0 - np.abs(2.0 * p_BC - 1.0).min(axis=1))
    if p_BC.shape[1] == 1:
        return np.zeros(len(p_BC))
    top_B2 = np.partition(p_BC, -2, axis=1)[:, -2:]
    return np.asarray(1.0 - (top_B2[:, 1] - top_B2[:, 0]))


def least_confidence(probabilities_BC: Floats, *, multi_label: bool) -> NDArray[np.float64]:
    """Probability (B,) that the likeliest class is wrong, or the mean of that over the labels.

    >>> least_confidence(np.array([[0.9, 0.4]]), multi_label=True).round(4).tolist()
    [0.25]
    """
    p_BC = np.asarray(probabilities_BC, dtype=np.float64)
    if multi_label:
        return np.asarray(1.0 - np.maximum(p_BC, 1.0 - p_BC).mean(axis=1))
    return np.asarray(1.0 - p_BC.max(axis=1))


MEASURES: Mapping[str, Measure] = MappingProxyType({"entropy": entropy, "margin": margin, "least_confidence": least_confidence})


def _xlogx(p_BC: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(p_BC > 0, p_BC * np.log(np.maximum(p_BC, 1e-300)), 0.0)
