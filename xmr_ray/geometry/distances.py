"""Squared Euclidean distances, as one matrix product."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.types import Floats


def squared_distances(left_AD: NDArray[Any], right_BD: NDArray[Any]) -> Floats:
    """Squared Euclidean distances (A, B) float32, never below 0; rounding is that of the squared lengths.

    >>> squared_distances(np.array([[0.0, 3.0]]), np.array([[4.0, 0.0], [0.0, 3.0]])).tolist()
    [[25.0, 0.0]]
    """
    left = np.asarray(left_AD, dtype=np.float32)
    right = np.asarray(right_BD, dtype=np.float32)
    distances_AB = left @ right.T
    distances_AB *= -2
    distances_AB += np.einsum("ij,ij->i", left, left)[:, None]
    distances_AB += np.einsum("ij,ij->i", right, right)
    return np.maximum(distances_AB, 0, out=distances_AB)
