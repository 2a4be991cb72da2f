"""Feature columns made comparable, and fewer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from xmr_ray.geometry.threads import one_thread
from xmr_ray.types import Floats


def standardise(points_ND: NDArray[Any]) -> Floats:
    """Columns of mean 0 and standard deviation 1, float32; a constant column becomes 0.

    >>> standardise(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    points = np.asarray(points_ND, dtype=np.float32)
    constant_D = (points == points[:1]).all(axis=0)
    mean_D = points.mean(axis=0, dtype=np.float64)
    spread_D = np.where(constant_D, 1.0, points.std(axis=0, dtype=np.float64))
    scaled: Floats = (points - mean_D.astype(np.float32)) / spread_D.astype(np.float32)
    scaled[:, constant_D] = 0
    return scaled


def scale_to_unit(points_ND: Floats) -> Floats:
    """Rows of length 1; a row of zeros stays.

    >>> scale_to_unit(np.array([[0.0, 2.0], [0.0, 0.0]], dtype=np.float32)).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    lengths_N = np.sqrt(np.einsum("nd,nd->n", points_ND, points_ND))
    lengths_N[lengths_N == 0] = 1
    return points_ND / lengths_N[:, None]


def principal_components(points_ND: Floats, *, components: int, rng: np.random.Generator) -> Floats:
    """Coordinates (N, components) along the directions of largest variance; points of no more dimensions come back as they are."""
    if components >= min(points_ND.shape):
        return points_ND
    reducer = PCA(components, svd_solver="randomized", random_state=int(rng.integers(2**31)))
    with one_thread():
        return np.ascontiguousarray(reducer.fit_transform(points_ND), dtype=np.float32)
