"""One formula per file; nothing here learns. The unions here are the registries."""

from typing import Annotated

from pydantic import Field

from xmr_ray.losses.cross_entropy import CrossEntropy
from xmr_ray.losses.loss import LabelLoss, LabelRows, LossSums, SpaceLoss, SpaceRows
from xmr_ray.losses.masked_bce import MaskedBce
from xmr_ray.losses.pairing import Pairing
from xmr_ray.losses.pairwise import Pairwise
from xmr_ray.losses.supcon import SupCon

AnyLabelLoss = Annotated[CrossEntropy | MaskedBce, Field(discriminator="kind")]
AnySpaceLoss = Annotated[Pairwise | Pairing | SupCon, Field(discriminator="kind")]

__all__ = [
    "AnyLabelLoss",
    "AnySpaceLoss",
    "CrossEntropy",
    "LabelLoss",
    "LabelRows",
    "LossSums",
    "MaskedBce",
    "Pairing",
    "Pairwise",
    "SpaceLoss",
    "SpaceRows",
    "SupCon",
]
