"""One optimiser step, on one rank or many: schedule, precision, and the mean of a loss over all ranks' rows."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from xmr_ray.component import Settings
from xmr_ray.losses import LossSums
from xmr_ray.training.ranks import Ranks

_WARM_UP, _START, _END = 0.3, 1 / 25, 1 / 250_000
_SMALLEST_MASS = 1e-12


class OptimiserSettings(Settings):
    """AdamW with a one-cycle learning rate."""

    learning_rate: float = Field(default=1e-3, gt=0, description="highest learning rate of the cycle")
    weight_decay: float = Field(default=0.01, ge=0, description="decoupled weight decay")
    batch_size: int = Field(default=256, ge=2, description="rows of a batch over all workers")


def one_cycle(progress: float) -> float:
    """Share of the highest learning rate at `progress` in [0, 1]: cosine up over 30 %, cosine down to nothing ([OneCycle]).

    >>> [round(one_cycle(p), 3) for p in (0.0, 0.3, 1.0)]
    [0.04, 1.0, 0.0]
    """
    if progress < _WARM_UP:
        return _START + (1 - _START) * (1 - math.cos(math.pi * progress / _WARM_UP)) / 2
    return _END + (1 - _END) * (1 + math.cos(math.pi * (min(progress, 1.0) - _WARM_UP) / (1 - _WARM_UP))) / 2


def mean_over_ranks(terms: Sequence[tuple[float, LossSums]], ranks: Ranks) -> torch.Tensor:
    """`sum_k weight_k * (sum of totals / sum of masses)` of one rank, scaled so that gradients averaged over ranks are the whole batch's."""
    masses_K = ranks.sum(torch.stack([sums.mass for _, sums in terms])).clamp(min=_SMALLEST_MASS)
    parts = [weight * sums.total / masses_K[k] for k, (weight, sums) in enumerate(terms)]
    return torch.stack(parts).sum() * ranks.world


class Stepper:
    """A network with its optimiser. Weights are f32; matrix products run in `precision`."""

    def __init__(
        self, network: nn.Module, settings: OptimiserSettings, *, ranks: Ranks, device: torch.device, precision: Literal["f32", "bf16"]
    ) -> None:
        self._settings, self._device, self._bf16 = settings, device, precision == "bf16"
        devices = [device] if device.type == "cuda" else None
        self._module = network if ranks.world == 1 else DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=device.type in {"cpu", "cuda"}
        )

    def forward(self, image_BI: torch.Tensor, text_BT: torch.Tensor) -> Any:
        """What the network gives for features that may lie on another device."""
        with self.autocast():
            return self._module(image_BI.to(self._device, non_blocking=True), text_BT.to(self._device, non_blocking=True))

    def autocast(self) -> torch.autocast:
        """The context in which matrix products run in this fit's precision."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)

    def step(self, loss: torch.Tensor, progress: float) -> None:
        """Go down the gradient of `loss` at this point of the schedule."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._settings.learning_rate * one_cycle(progress)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
