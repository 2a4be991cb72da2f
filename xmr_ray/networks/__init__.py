"""Label predictor (stage 1) and common space (stage 2); tensors only. The unions here are the registries."""

from xmr_ray.networks.common_space import CommonSpace, TwoTower
from xmr_ray.networks.dims import NetworkDims
from xmr_ray.networks.label_predictor import LabelPredictor, TwoBranch

# A union of one is the class itself; the second kind turns these lines into `Annotated[A | B, Field(discriminator="kind")]`.
AnyLabelPredictor = TwoBranch
AnyCommonSpace = TwoTower

__all__ = ["AnyCommonSpace", "AnyLabelPredictor", "CommonSpace", "LabelPredictor", "NetworkDims", "TwoBranch", "TwoTower"]
