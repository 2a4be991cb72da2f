"""The seed purchase from geometry: the pair nearest to each k-means centre of the features, before any network exists."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xmr_ray.component import Component
from xmr_ray.errors import StrategyError
from xmr_ray.geometry.hashing import derive_key, hash_sample
from xmr_ray.geometry.kmeans import assign, fit_kmeans, nearest_to_centres
from xmr_ray.geometry.projection import principal_components, scale_to_unit, standardise
from xmr_ray.types import Floats, Ids, Selection


class Typical(Component):
    """One pair from each of `n` regions of the features: typical where it lies, and together covering.

    It looks at a bounded candidate set, drawn by hash from the pool. Source: TypiClust's idea (typical and covering pairs when labels are
    few) with the k-means centre in place of the density estimate.
    """

    kind: Literal["typical"] = "typical"
    candidates: int = Field(20_000, ge=1, description="pairs whose features are looked at; at least as many as are asked for")
    components: int = Field(64, ge=1, description="dimensions that the joined features are reduced to")

    def draw_candidates(self, pair_ids: Ids, *, n: int, seed: int) -> Ids:
        """The pairs to look at, ascending: `candidates` of the pool, or `n` if that is more.

        Raises `StrategyError` if `n` is negative or larger than the pool.
        """
        _check_number(n, len(pair_ids))
        return hash_sample(pair_ids, size=max(self.candidates, n), seed=seed, purpose="typical")

    def place(self, pair_ids_N: Ids, image_NI: NDArray[Any], text_NT: NDArray[Any], *, n: int, seed: int) -> Selection:
        """The pairs to buy among candidates, largest region first; `utility` is the share of the candidates in the pair's region."""
        _check_number(n, len(pair_ids_N))
        order_N = np.argsort(pair_ids_N, kind="stable")
        joined_ND = join_features(image_NI[order_N], text_NT[order_N], components=self.components, seed=seed)
        return select_typical(joined_ND, pair_ids_N[order_N], n, seed=seed)


def join_features(image_NI: NDArray[Any], text_NT: NDArray[Any], *, components: int, seed: int) -> Floats:
    """Both modalities in one space (N, D), rows of length 1.

    Each is standardised per dimension and scaled to unit rows, so that both count equally; PCA reduces the two joined.
    """
    joined_ND = np.hstack([scale_to_unit(standardise(image_NI)), scale_to_unit(standardise(text_NT))])
    rng = np.random.default_rng(derive_key(seed, "principal components"))
    return scale_to_unit(principal_components(joined_ND, components=components, rng=rng))


def select_typical(features_ND: Floats, pair_ids_N: Ids, n: int, *, seed: int) -> Selection:
    """`n` distinct pairs, each the nearest still free one to its k-means centre, by size of the cell, largest first.

    Raises `StrategyError` if `n` is negative or larger than the number of pairs.

    >>> features = np.array([[0.0], [0.1], [0.2], [5.0], [5.4]], dtype=np.float32)
    >>> select_typical(features, np.array([4, 6, 8, 1, 2]), 2, seed=0).pair_ids_n.tolist()[0]
    6
    """
    _check_number(n, len(pair_ids_N))
    if n == 0:
        return Selection(np.empty(0, np.int64), np.empty(0, np.float64))
    centres_MD = fit_kmeans(features_ND, num_cells=n, rng=np.random.default_rng(derive_key(seed, "typical")))
    sizes_M = np.bincount(assign(features_ND, centres_MD)[0], minlength=len(centres_MD))
    order_M = np.argsort(-sizes_M, kind="stable")
    # Fewer distinct points than pairs asked for: further rounds over the same centres take their next nearest pairs.
    rounds = -(-n // len(order_M))
    wanted = np.tile(order_M, rounds)[:n]
    rows_n = nearest_to_centres(features_ND, centres_MD[wanted])
    return Selection(pair_ids_N[rows_n], sizes_M[wanted] / len(pair_ids_N))


def _check_number(n: int, num_pairs: int) -> None:
    if not 0 <= n <= num_pairs:
        raise StrategyError(f"seed strategy 'typical': asked for {n} pairs of {num_pairs}; expected 0 to {num_pairs}")
