"""Mean colours on a grid: image features without any network or download, a floor to compare real encoders with."""

from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import PositiveInt
from torch import Tensor

from xmr_ray.encoders.encoder import Encoder
from xmr_ray.encoders.image_network import ImageNetwork


class Pixels(Encoder):
    """Red, green and blue in [0, 1], averaged over the cells of a `grid` x `grid` grid: `3 * grid ** 2` numbers."""

    kind: Literal["pixels"] = "pixels"
    grid: PositiveInt = 8

    def build(self, device: torch.device) -> ImageNetwork:
        """The averages as a network without weights."""
        return ImageNetwork(3 * self.grid**2, device, self._prepare, torch.nn.Flatten())

    def _prepare(self, image: Image.Image) -> Tensor:
        small = np.asarray(image.resize((self.grid, self.grid), Image.Resampling.BOX), dtype=np.float32) / 255
        return torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))
