"""One formula per file; nothing here learns. The unions here are the registries."""

from typing import Annotated

from pydantic import Field

from xmr_ray.losses.center import center_sums
from xmr_ray.losses.cross_entropy import CrossEntropy
from xmr_ray.losses.entropy import entropy_sums
from xmr_ray.losses.loss import LabelLoss, LabelRows, LossSums, SpaceLoss, SpaceRows
from xmr_ray.losses.masked_bce import MaskedBce
from xmr_ray.losses.match import ClosedFormMatch, GaussianRows, SampledMatch, match_logits
from xmr_ray.losses.modality import modality_sums
from xmr_ray.losses.mse import Mse
from xmr_ray.losses.pairing import Pairing
from xmr_ray.losses.pairwise import Pairwise
from xmr_ray.losses.row_norm import RowNorm
from xmr_ray.losses.supcon import SupCon
from xmr_ray.losses.variances import pair_likelihood, variance_prior, wasserstein

AnyLabelLoss = Annotated[CrossEntropy | MaskedBce | Mse | RowNorm, Field(discriminator="kind")]
AnySpaceLoss = Annotated[Pairwise | Pairing | SupCon, Field(discriminator="kind")]
AnyMatchLoss = Annotated[ClosedFormMatch | SampledMatch, Field(discriminator="kind")]

__all__ = [
    "AnyLabelLoss",
    "AnyMatchLoss",
    "AnySpaceLoss",
    "ClosedFormMatch",
    "CrossEntropy",
    "GaussianRows",
    "LabelLoss",
    "LabelRows",
    "LossSums",
    "MaskedBce",
    "Mse",
    "Pairing",
    "Pairwise",
    "RowNorm",
    "SampledMatch",
    "SpaceLoss",
    "SpaceRows",
    "SupCon",
    "center_sums",
    "entropy_sums",
    "match_logits",
    "modality_sums",
    "pair_likelihood",
    "variance_prior",
    "wasserstein",
]
