"""Centring and scaling of features, stored with the network."""

import torch
from torch import nn

from xmr_ray.types import Floats

_SMALLEST_STD = 1e-6


class Standardise(nn.Module):
    """`(x - mean) / std` with the statistics of the train split as buffers; a dimension that never varies is only centred ([method] A1.1)."""

    mean_W: torch.Tensor
    scale_W: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_W", torch.zeros(width))
        self.register_buffer("scale_W", torch.ones(width))

    def set(self, mean_W: Floats, std_W: Floats) -> None:
        """Take over the statistics of the train split."""
        std = torch.as_tensor(std_W, dtype=torch.float32)
        self.mean_W.copy_(torch.as_tensor(mean_W, dtype=torch.float32))
        self.scale_W.copy_(torch.where(std > _SMALLEST_STD, 1.0 / std.clamp(min=_SMALLEST_STD), torch.ones_like(std)))

    def forward(self, features_BW: torch.Tensor) -> torch.Tensor:
        """Features (B, W) as float32, centred and scaled."""
        return (features_BW.float() - self.mean_W) * self.scale_W
