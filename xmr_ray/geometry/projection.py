"""Feature columns made comparable, and fewer."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def project_randomly(points_ND: NDArray[Any], *, components: int, key: int) -> Floats:
    """Products (N, components) with random directions that `key` alone decides; points of no more dimensions come back as they are.

    Distances are kept up to a factor of about `1 +- sqrt(2 / components)`, whatever the points ([JL]): nothing is fitted, so points that are
    projected apart from each other can be compared.

    >>> project_randomly(np.eye(3), components=2, key=1).shape, project_randomly(np.eye(3), components=3, key=1).shape
    ((3, 2), (3, 3))
    """
    points = np.asarray(points_ND, dtype=np.float32)
    if components >= points.shape[1]:
        return points
    with one_thread():
        return np.asarray(points @ _directions(points.shape[1], components, key), dtype=np.float32)


@lru_cache(maxsize=4)
def _directions(width: int, components: int, key: int) -> Floats:
    directions = np.random.default_rng(key).standard_normal((width, components), dtype=np.float32)
    return directions / np.float32(np.sqrt(components))


def principal_components(points_ND: Floats, *, components: int, rng: np.random.Generator) -> Floats:
    """Coordinates (N, components) along the directions of largest variance; points of no more dimensions come back as they are."""
    if components >= min(points_ND.shape):
        return points_ND
    from sklearn.decomposition import PCA  # here, not above: every worker process would pay a second for it

    reducer = PCA(components, svd_solver="randomized", random_state=int(rng.integers(2**31)))
    with one_thread():
        return np.ascontiguousarray(reducer.fit_transform(points_ND), dtype=np.float32)
