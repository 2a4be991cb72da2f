"""Cosine similarity of blocks of queries with a whole gallery.

The product goes through oneDNN's layout where torch has it: on the CPUs that were measured it is up to twice as fast as the default float32
product of numpy or torch. Equal gallery rows get bit-equal similarities by construction, whatever the library does at the edges of
its tiles, because each distinct row is multiplied once: otherwise rounding, not the order of ids, would break ties.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xmr_ray.errors import RetrievalError
from xmr_ray.types import Floats, Ids

_SMALLEST, _LARGEST = 1e-30, 1e30
_COLUMNS_COMPARED = 16
_ROWS_OF_SLAB = 4096


def unit_rows(embeddings_ND: NDArray[Any], pair_ids_N: Ids, *, what: str) -> Floats:
    """Rows scaled to length 1, float32 (N, D).

    Raises `RetrievalError` for a shape that does not fit the ids, and for a row of zeros or with values that are not finite.

    >>> unit_rows(np.array([[3.0, 4.0]]), np.array([7]), what="image").round(2).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    embeddings_ND = np.asarray(embeddings_ND)
    if embeddings_ND.ndim != 2 or len(embeddings_ND) != len(pair_ids_N) or embeddings_ND.shape[1] == 0:
        raise RetrievalError(f"{what} embeddings have shape {embeddings_ND.shape}; expected ({len(pair_ids_N)}, D) with D at least 1")
    rows_ND = np.ascontiguousarray(embeddings_ND, dtype=np.float32)
    squares_N = np.einsum("nd,nd->n", rows_ND, rows_ND)
    if not ((squares_N > _SMALLEST) & (squares_N < _LARGEST)).all():
        rows_ND = _rescale(rows_ND, pair_ids_N, what=what)
        squares_N = np.einsum("nd,nd->n", rows_ND, rows_ND)
    return rows_ND / np.sqrt(squares_N)[:, None]


def _rescale(rows_ND: Floats, pair_ids_N: Ids, *, what: str) -> Floats:
    """Rows divided by their largest entry, so that squares neither overflow nor vanish."""
    largest_N = np.abs(rows_ND).max(axis=1)
    bad = np.flatnonzero(~np.isfinite(largest_N) | (largest_N == 0))
    if len(bad):
        state = "a row of zeros" if largest_N[bad[0]] == 0 else "not finite"
        raise RetrievalError(f"{what} embedding of pair_id {pair_ids_N[bad[0]]} is {state}; cosine needs a direction, check the network that made it")
    return rows_ND / largest_N[:, None]


class Gallery:
    """Unit rows to be ranked, laid out for the product with blocks of queries."""

    def __init__(self, rows_GD: Floats) -> None:
        first, self._inverse_G = distinct_rows(rows_GD)
        self._expand = len(first) < len(rows_GD)
        distinct = rows_GD[first] if self._expand else rows_GD
        self._fast = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        self._slabs = [self._lay_out(slab_SD) for slab_SD in np.split(distinct, range(_ROWS_OF_SLAB, len(distinct), _ROWS_OF_SLAB))]
        self._cosines_BU = np.empty((0, len(distinct)), np.float32)

    def similarities(self, queries_BD: Floats) -> Floats:
        """Cosines (B, G) float32 of unit queries with every gallery row, in gallery order; the next call may overwrite them."""
        if len(self._cosines_BU) != len(queries_BD):
            self._cosines_BU = np.empty((len(queries_BD), self._cosines_BU.shape[1]), np.float32)
        queries = self._lay_out(queries_BD)
        start = 0
        for slab in self._slabs:
            with torch.inference_mode():
                product = torch.nn.functional.linear(queries, slab)
                self._cosines_BU[:, start : start + slab.shape[0]] = (product.to_dense() if self._fast else product).numpy()
            start += slab.shape[0]
        return np.take(self._cosines_BU, self._inverse_G, axis=1) if self._expand else self._cosines_BU

    def _lay_out(self, rows_ND: Floats) -> torch.Tensor:
        rows = torch.from_numpy(rows_ND)
        return rows.to_mkldnn() if self._fast else rows


def distinct_rows(rows_GD: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that stand for all (U,), and for each row the position of its stand-in among them (G,).

    >>> first, inverse = distinct_rows(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]], dtype=np.float32))
    >>> first.tolist(), inverse.tolist()
    ([0, 1], [0, 1, 0])
    """
    # Sums of a few columns tell most rows apart; only rows with equal sums are compared byte by byte.
    _, group_G, sizes = np.unique(rows_GD[:, :_COLUMNS_COMPARED].sum(axis=1), return_inverse=True, return_counts=True)
    first_G = np.arange(len(rows_GD))
    suspects = np.flatnonzero(sizes[group_G] > 1)
    if len(suspects):
        # Adding 0 turns -0 into 0, which has other bytes and is equal.
        opaque = (rows_GD[suspects] + np.float32(0)).view(np.dtype((np.void, rows_GD.shape[1] * 4)))[:, 0]
        _, lead, which = np.unique(opaque, return_index=True, return_inverse=True)
        first_G[suspects] = suspects[lead][which]
    first, inverse_G = np.unique(first_G, return_inverse=True)
    return first, inverse_G
