"""k-means: centres from a bounded sample, cells of any number of points, the point nearest to each centre.

The computation runs on one thread: sums by several threads have no fixed order, and the same seed must give the same cells whatever the
number of cores that an actor was given.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import StrategyError
from xmr_ray.geometry.distances import squared_distances
from xmr_ray.geometry.threads import one_thread
from xmr_ray.types import Floats

_ROWS_AT_ONCE = 8192


def fit_kmeans(
    points_ND: NDArray[Any], *, num_cells: int, rng: np.random.Generator, exact_below: int = 20_000, max_iter: int = 100, num_starts: int = 1
) -> Floats:
    """Centres (num_cells, D) float32: Lloyd's k-means up to `exact_below` points, mini-batch k-means beyond; k-means++ starts.

    With as many cells as points, or more, the points themselves are the centres (so there may be fewer than `num_cells`).
    Raises `StrategyError` for no points, no cells or values that are not finite.

    >>> points = np.array([[0.0], [0.1], [5.0], [5.2]])
    >>> np.sort(fit_kmeans(points, num_cells=2, rng=np.random.default_rng(0)).ravel().astype(float)).round(2).tolist()
    [0.05, 5.1]
    """
    points = np.ascontiguousarray(points_ND, dtype=np.float32)
    if len(points) == 0 or num_cells < 1:
        raise StrategyError(f"k-means: {num_cells} cells for {len(points)} points; expected at least one of each")
    if not np.isfinite(points).all():
        raise StrategyError(f"k-means: row {np.flatnonzero(~np.isfinite(points).all(axis=1))[0]} is not finite; check the features")
    if len(points) <= max(exact_below, num_cells) and num_cells >= len(distinct := np.unique(points, axis=0)):
        return np.ascontiguousarray(distinct)
    shared = {"n_clusters": num_cells, "n_init": num_starts, "max_iter": max_iter, "random_state": int(rng.integers(2**31))}
    from sklearn.cluster import KMeans, MiniBatchKMeans  # here, not above: every worker process would pay a second for it

    model = KMeans(**shared) if len(points) <= exact_below else MiniBatchKMeans(**shared, batch_size=4096)
    with one_thread():
        model.fit(points)
    return np.ascontiguousarray(model.cluster_centers_, dtype=np.float32)


def assign(points_ND: NDArray[Any], centres_MD: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Cell of each point (N,) and its squared distance to that centre (N,); equal distances go to the lower cell.

    >>> cells, squares = assign(np.array([[0.0], [4.0]]), np.array([[1.0], [4.0]], dtype=np.float32))
    >>> cells.tolist(), squares.tolist()
    ([0, 1], [1.0, 0.0])
    """
    cells_N = np.empty(len(points_ND), np.int32)
    squares_N = np.empty(len(points_ND), np.float32)
    with one_thread():
        for start in range(0, len(points_ND), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            distances_BM = squared_distances(points_ND[rows], centres_MD)
            cells_N[rows] = distances_BM.argmin(axis=1)
            squares_N[rows] = np.take_along_axis(distances_BM, cells_N[rows, None].astype(np.int64), axis=1)[:, 0]
    return cells_N, squares_N


def nearest_to_centres(points_ND: NDArray[Any], centres_MD: Floats) -> NDArray[np.int64]:
    """For each centre, in order, the row of the nearest point that no earlier centre took (M,); ties go to the lower row.

    Raises `StrategyError` if there are fewer points than centres.

    >>> nearest_to_centres(np.array([[0.0], [1.0], [9.0]]), np.array([[0.1], [0.2], [8.0]], dtype=np.float32)).tolist()
    [0, 1, 2]
    """
    if len(points_ND) < len(centres_MD):
        raise StrategyError(f"k-means: {len(centres_MD)} centres want a point of their own, there are {len(points_ND)} points")
    free_N = np.ones(len(points_ND), dtype=np.bool_)
    rows_M = np.empty(len(centres_MD), np.int64)
    with one_thread():
        for start in range(0, len(centres_MD), 256):
            distances_MN = squared_distances(centres_MD[start : start + 256], points_ND)
            for offset, distances_N in enumerate(distances_MN):
                row = int(np.where(free_N, distances_N, np.inf).argmin())
                free_N[row] = False
                rows_M[start + offset] = row
    return rows_M
