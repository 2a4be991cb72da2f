"""The parts of a pair's informativeness: uncertainty inside its modalities, between them, and of its labels ([method] B1.4).

The parts lie on scales of their own. Which weight each has, and the means and deviations that make them comparable, are the strategy's
business: it knows the pool.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from xmr_ray.networks import GaussianHeads
from xmr_ray.networks.match import fuse_pair
from xmr_ray.types import Floats

PARTS = ("intra", "inter", "class")
IMAGE_SHARE = "image_share"


class GaussianScores(NamedTuple):
    """Scores (B,), the image's share (B,) of the variance inside the modalities, and the mean (B, D) of the fused Gaussian of each pair."""

    intra_B: NDArray[np.float64]
    inter_B: NDArray[np.float64]
    image_share_B: NDArray[np.float64]
    fused_mean_BD: Floats


@torch.inference_mode()
def score_gaussians(heads: GaussianHeads, image_BD: torch.Tensor, text_BD: torch.Tensor) -> GaussianScores:
    """Both parts from unit embeddings (B, D); higher is more uncertain.

    `intra`: log (natural) of the trace of the fused covariance's first part, the mean total variance of both modalities. Totals of a pool
    are spread over orders of magnitude, and on a log scale no few pairs rule the mean. `inter`: one minus the match probability, or the
    trace of the second part, as the heads' configuration says.
    """
    pair = heads(image_BD, text_BD)
    fused = fuse_pair(pair)
    intra_B = fused.inside_BD.sum(dim=1).log()
    inter_B = 1.0 - heads.match_probability(pair) if heads.config.inter == "match" else fused.between_BD.sum(dim=1)
    image_share_B = pair.image_variance_BD.sum(dim=1) / (pair.image_variance_BD + pair.text_variance_BD).sum(dim=1)
    intra, inter, image_share = (part.double().cpu().numpy() for part in (intra_B, inter_B, image_share_B))
    return GaussianScores(intra, inter, image_share, fused.mean_BD.float().cpu().numpy())
