"""Fewer dimensions for features: the principal subspace of the train split, at its natural scale."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import ReaderError
from xmr_ray.types import Floats

BATCH_ROWS = 4096
ROTATION_SEED = 0


def project(features_NI: NDArray[Any], *, fit_on: NDArray[np.bool_], num_components: int) -> Floats:
    """Coordinates in the leading principal subspace of the rows `fit_on`, (N, num_components) float32, centred on those rows.

    The axes within the subspace are rotated by a fixed random rotation. Dot products and distances are those of the principal
    component scores, but every coordinate has nearly the same variance: networks standardise each dimension, and on the plain scores
    that would whiten, which lifts the noise of the last components to the level of the first (ridge on 200 labels loses .06 of mAP
    by it on the embedded corpus, and nothing on rotated scores; `benchmarks/build_embedded.py` prints both).

    Raises:
        ReaderError: more components than dimensions, or than rows less one.
    """
    rows, width = np.flatnonzero(fit_on), features_NI.shape[1]
    if num_components > min(width, len(rows) - 1):
        raise ReaderError(f"image_pca={num_components} is more than {len(rows)} training pairs of {width} dimensions can give")
    mean_I = features_NI[rows].mean(axis=0, dtype=np.float64)
    axes_IK = principal_axes(features_NI, rows=rows, mean_I=mean_I)[:, :num_components] @ _rotation(num_components)
    parts = [(features_NI[start : start + BATCH_ROWS] - mean_I) @ axes_IK for start in range(0, len(features_NI), BATCH_ROWS)]
    return np.concatenate(parts).astype(np.float32)


def principal_axes(features_NI: NDArray[Any], *, rows: NDArray[np.int64], mean_I: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eigenvectors (I, I) of the covariance of some rows, largest variance first, each with a positive largest loading."""
    width = features_NI.shape[1]
    products_II = np.zeros((width, width))
    for start in range(0, len(rows), BATCH_ROWS):
        centred_BI = features_NI[rows[start : start + BATCH_ROWS]] - mean_I
        products_II += centred_BI.T @ centred_BI
    axes_II = np.linalg.eigh(products_II)[1][:, ::-1]
    return axes_II * np.sign(axes_II[np.abs(axes_II).argmax(axis=0), np.arange(width)])


def _rotation(width: int) -> NDArray[np.float64]:
    basis_KK, triangle_KK = np.linalg.qr(np.random.default_rng(ROTATION_SEED).standard_normal((width, width)))
    return basis_KK * np.sign(np.diag(triangle_KK))
