"""Purchase from geometry alone: the pair nearest to each k-means centre of the features, in regions of which nothing is bought."""

import heapq
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xmr_ray.errors import StrategyError
from xmr_ray.geometry.hashing import derive_key
from xmr_ray.geometry.kmeans import assign, fit_kmeans, nearest_to_centres
from xmr_ray.geometry.projection import principal_components, scale_to_unit, standardise
from xmr_ray.strategies.strategy import NO_PAIRS, FeatureStrategy
from xmr_ray.types import Floats, Ids, Selection

# Lloyd's iterations up to this many points times centres; mini-batch k-means beyond.
_EXACT_BELOW = 50_000_000
_MAX_ITER = 30


class Typical(FeatureStrategy):
    """One pair from each of `n` regions of the features: typical where it lies, and together covering.

    It looks at a bounded candidate set, drawn by hash from the pool, and at what is bought. Source: TypiClust's idea (typical and
    covering pairs when labels are few) with the k-means centre in place of the density estimate.
    """

    kind: Literal["typical"] = "typical"
    components: int = Field(64, ge=1, description="dimensions that the joined features are reduced to")

    def place(
        self,
        pair_ids_N: Ids,
        image_NI: NDArray[Any],
        text_NT: NDArray[Any],
        *,
        n: int,
        seed: int,
        bought: Ids = NO_PAIRS,
        round_index: int = 0,
    ) -> Selection:
        """The pairs to buy among candidates and bought pairs, largest region first.

        `utility` is the share of the candidates in the pair's region, over the pairs that the region then holds, this one included.
        Raises `StrategyError` if `n` is negative or larger than the number of candidates.
        """
        order_N = np.argsort(pair_ids_N, kind="stable")
        ids_N = pair_ids_N[order_N]
        bought_N = np.isin(ids_N, bought)
        self._check_number(n, int((~bought_N).sum()))
        joined_ND = join_features(image_NI[order_N], text_NT[order_N], components=self.components, seed=seed)
        if bought_N.any():
            return select_beside(joined_ND, ids_N, n, bought_N=bought_N, rng=np.random.default_rng(derive_key(seed, round_index, "typical")))
        return select_typical(joined_ND, ids_N, n, seed=seed)


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
    if not 0 <= n <= len(pair_ids_N):
        raise StrategyError(f"typical pairs: asked for {n} pairs of {len(pair_ids_N)}; expected 0 to {len(pair_ids_N)}")
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


def select_beside(features_ND: Floats, pair_ids_N: Ids, n: int, *, bought_N: NDArray[np.bool_], rng: np.random.Generator) -> Selection:
    """`n` distinct pairs that are not bought, nearest to centres of the largest regions that hold no bought pair.

    There are as many regions as bought pairs and `n` together, found over both. Where too few are without a bought pair, those with
    most candidates for each pair that they hold follow, however often.

    >>> features = np.array([[0.0], [0.1], [0.2], [5.0], [5.4]], dtype=np.float32)
    >>> bought = np.array([False, True, False, False, False])
    >>> int(select_beside(features, np.array([4, 6, 8, 1, 2]), 1, bought_N=bought, rng=np.random.default_rng(0)).pair_ids_n[0]) in (1, 2)
    True
    """
    if n == 0:
        return Selection(np.empty(0, np.int64), np.empty(0, np.float64))
    num_cells = int(bought_N.sum()) + n
    exact = len(features_ND) * num_cells <= _EXACT_BELOW
    centres_MD = fit_kmeans(features_ND, num_cells=num_cells, rng=rng, exact_below=len(features_ND) if exact else 0, max_iter=_MAX_ITER)
    cells_N = assign(features_ND, centres_MD)[0]
    held_M = np.bincount(cells_N[bought_N], minlength=len(centres_MD))
    sizes_M = np.bincount(cells_N[~bought_N], minlength=len(centres_MD))
    wanted, worth_n = _next_regions(sizes_M, held_M, n)
    free = np.flatnonzero(~bought_N)
    rows_n = free[nearest_to_centres(features_ND[free], centres_MD[wanted])]
    return Selection(pair_ids_N[rows_n], worth_n / len(free))


def _next_regions(sizes_M: Ids, held_M: Ids, n: int) -> tuple[Ids, NDArray[np.float64]]:
    """The regions of the next `n` pairs, and the candidates of each over the pairs that it then holds; never more than its candidates."""
    queue = [(held > 0, -size / (held + 1), cell, 1) for cell, (size, held) in enumerate(zip(sizes_M.tolist(), held_M.tolist(), strict=True)) if size]
    heapq.heapify(queue)
    wanted, worth = np.empty(n, np.int64), np.empty(n, np.float64)
    for place in range(n):
        _, negative, cell, taken = heapq.heappop(queue)
        wanted[place], worth[place] = cell, -negative
        if taken < sizes_M[cell]:
            heapq.heappush(queue, (True, -sizes_M[cell] / (held_M[cell] + taken + 1), cell, taken + 1))
    return wanted, worth
