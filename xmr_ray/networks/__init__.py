"""Label predictor (stage 1), common space (stage 2) and Gaussian heads on it; tensors only. The unions here are the registries."""

from xmr_ray.networks.common_space import CommonSpace, TwoTower
from xmr_ray.networks.dims import NetworkDims
from xmr_ray.networks.gaussian import GaussianHeads, ResidualHeads
from xmr_ray.networks.label_predictor import LabelPredictor, TwoBranch

# A union of one is the class itself; the second kind turns these lines into `Annotated[A | B, Field(discriminator="kind")]`.
AnyLabelPredictor = TwoBranch
AnyCommonSpace = TwoTower
AnyHeads = ResidualHeads

__all__ = [
    "AnyCommonSpace",
    "AnyHeads",
    "AnyLabelPredictor",
    "CommonSpace",
    "GaussianHeads",
    "LabelPredictor",
    "NetworkDims",
    "ResidualHeads",
    "TwoBranch",
    "TwoTower",
]
