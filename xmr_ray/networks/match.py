"""Pure functions of two diagonal Gaussians, one per modality of a pair: squared distance, match probability, fused Gaussian ([method] B1).

Nothing here mixes rows: what comes back for a pair does not depend on its neighbours in the batch.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch

NUM_NODES = 8
_BLOCK_VALUES = 65_536
_TINY = 1e-30


class PairGaussians(NamedTuple):
    """Means and variances (B, D) of both modalities."""

    image_mean_BD: torch.Tensor
    image_variance_BD: torch.Tensor
    text_mean_BD: torch.Tensor
    text_variance_BD: torch.Tensor


class FusedGaussian(NamedTuple):
    """Mean (B, D) of the equal mixture of both modalities, and the two parts (B, D) whose sum is the diagonal of its covariance."""

    mean_BD: torch.Tensor
    inside_BD: torch.Tensor
    between_BD: torch.Tensor


def fuse_pair(pair: PairGaussians) -> FusedGaussian:
    """The pair as one Gaussian, by the law of total variance.

    `inside` is the mean of both variances (uncertainty inside the modalities), `between` a quarter of the squared difference of means
    (disagreement between them).

    >>> fused = fuse_pair(PairGaussians(*(torch.tensor([[value]]) for value in (1.0, 0.5, 3.0, 0.1))))
    >>> fused.mean_BD.item(), round(fused.inside_BD.item(), 3), fused.between_BD.item()
    (2.0, 0.3, 1.0)
    """
    inside_BD = (pair.image_variance_BD + pair.text_variance_BD) / 2
    return FusedGaussian((pair.image_mean_BD + pair.text_mean_BD) / 2, inside_BD, (pair.image_mean_BD - pair.text_mean_BD).square() / 4)


def distance_moments(pair: PairGaussians) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (B,) of `||z_image - z_text||^2`, both drawn from their Gaussians.

    With `d = mu_image - mu_text` and `s = sigma_image^2 + sigma_text^2`: `sum_d d^2 + s` and `sum_d 2 s^2 + 4 d^2 s`. On a CPU rows are
    taken in blocks that stay in the cache, so each of the four inputs is read from memory once.

    >>> moments = distance_moments(PairGaussians(*(torch.tensor([[value]]) for value in (1.0, 0.5, 3.0, 0.5))))
    >>> [moment.item() for moment in moments]
    [5.0, 18.0]
    """
    num_rows, width = pair.image_mean_BD.shape
    block = num_rows if pair.image_mean_BD.is_cuda else max(1, _BLOCK_VALUES // max(width, 1))
    mean_B, variance_B = pair.image_mean_BD.new_empty(num_rows), pair.image_mean_BD.new_empty(num_rows)
    buffers = [pair.image_mean_BD.new_empty(min(block, num_rows), width) for _ in range(3)]
    ones_D = pair.image_mean_BD.new_ones(width)  # a product with ones sums a row in fewer cycles than `sum`
    with torch.no_grad():
        for start in range(0, num_rows, max(block, 1)):
            stop = min(start + block, num_rows)
            image_bD, image_variance_bD, text_bD, text_variance_bD = (values[start:stop] for values in pair)
            spread_bD, difference_bD, sum_bD = (buffer[: stop - start] for buffer in buffers)
            torch.add(image_variance_bD, text_variance_bD, out=spread_bD)
            torch.sub(image_bD, text_bD, out=difference_bD)
            torch.addcmul(spread_bD, difference_bD, difference_bD, value=2, out=sum_bD)  # s + 2 d^2
            torch.mv(spread_bD, ones_D, out=mean_B[start:stop])
            mean_B[start:stop].addmv_(sum_bD, ones_D)
            torch.mv(sum_bD.mul_(spread_bD), ones_D, out=variance_B[start:stop])
        return mean_B.mul_(0.5), variance_B.mul_(2)


def match_probability(pair: PairGaussians, *, slope: float, offset: float) -> torch.Tensor:
    """`E[sigmoid(offset - slope ||z_image - z_text||^2)]` (B,) in closed form, in [0, 1].

    The distance r is taken as normal, with the two parameters that give `r^2` its exact mean m and variance v:
    `E[r]^2 = sqrt(m^2 - v / 2)` and `Var[r] = m - E[r]^2` (to first order the delta method's). One-dimensional Gauss-Hermite quadrature
    with 8 nodes does the rest.

    >>> pair = PairGaussians(*(torch.full((1, 64), value) for value in (0.0, 1e-9, 0.125, 1e-9)))
    >>> round(match_probability(pair, slope=2.0, offset=2.0).item(), 4)
    0.5
    """
    mean_B, variance_B = distance_moments(pair)
    half_B = variance_B / 2
    centre_B = torch.sqrt((mean_B.square() - half_B).clamp(min=0.0))
    spread_B = half_B / (mean_B + centre_B).clamp(min=_TINY)
    nodes_K, weights_K = (torch.tensor(part, dtype=mean_B.dtype, device=mean_B.device) for part in _quadrature())
    distance_BK = torch.sqrt(centre_B)[:, None] + torch.sqrt(spread_B)[:, None] * nodes_K
    return torch.sigmoid(offset - slope * distance_BK.square()) @ weights_K


@cache
def _quadrature() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights (K,) with which `sum_k w_k f(x_k)` is the expectation of f under the standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    return tuple(nodes.tolist()), tuple((weights / weights.sum()).tolist())
