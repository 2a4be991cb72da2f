"""A network that turns pictures into features, beside the preparation of one picture, which runs in other threads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from xmr_ray.types import Floats

CPU_ROWS = 8  # at 64 rows the CPU spends half its time on fresh pages of memory


@dataclass(frozen=True)
class ImageNetwork:
    """`prepare` gives one RGB picture's pixels (3, H, W), the same H and W for all; `network` takes (B, 3, H, W) and gives (B, dim)."""

    dim: int
    device: torch.device
    prepare: Callable[[Image.Image], Tensor]
    network: Callable[[Tensor], Tensor]

    def encode(self, images: Sequence[Image.Image]) -> Floats:
        """Features (B, dim) of RGB pictures."""
        return self.forward([self.prepare(image) for image in images])

    def forward(self, pixels: Sequence[Tensor]) -> Floats:
        """Features (B, dim) of prepared pictures."""
        with torch.inference_mode():
            pixels_BCHW = torch.stack(list(pixels)).to(self.device)
            parts = [pixels_BCHW] if self.device.type == "cuda" else torch.split(pixels_BCHW, CPU_ROWS)
            features_BD = torch.cat([self.network(part) for part in parts])
        return to_floats(features_BD)


def to_floats(features: Tensor) -> Floats:
    """Features as float32 in memory of their own, whatever device and precision they were made with."""
    return features.detach().to(device="cpu", dtype=torch.float32).numpy()
