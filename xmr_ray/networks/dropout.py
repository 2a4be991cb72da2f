"""Dropout from random bytes: eight times fewer calls of the generator than one draw per value."""

import torch
from torch import nn

_LEVELS = 256


class ByteDropout(nn.Module):
    """Dropout whose keep probability is rounded to a multiple of 1/256; kept values are scaled so that the mean stays.

    On a CPU drawing Bernoulli numbers one by one takes longer than the matrix products of a small network.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.kept_levels = round((1.0 - rate) * _LEVELS)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Values of any shape, some set to 0 in training mode; unchanged otherwise."""
        if not self.training or self.kept_levels == _LEVELS:
            return values
        words = torch.empty((values.numel() + 7) // 8, dtype=torch.int64, device=values.device).random_(-(2**63), None)
        levels = words.view(torch.uint8)[: values.numel()].view(values.shape)
        return values * ((levels < self.kept_levels).to(values.dtype) * (_LEVELS / self.kept_levels))
