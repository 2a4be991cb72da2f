import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import nn

from xmr_ray.encoders.open_clip import OpenClip, _load
from xmr_ray.errors import ConfigError


class Model(nn.Module):
    """Mean colour of a picture, length and 1 of a text; lengths are 1 where that is asked for."""

    def encode_image(self, pixels_BCHW, *, normalize):
        assert not self.training
        features_BD = pixels_BCHW.mean(dim=(2, 3))[:, :2]
        return nn.functional.normalize(features_BD, dim=1) if normalize else features_BD

    def encode_text(self, tokens_BL, *, normalize=False):
        features_BD = torch.stack([tokens_BL.sum(dim=1), torch.ones(len(tokens_BL))], dim=1)
        return nn.functional.normalize(features_BD, dim=1) if normalize else features_BD


@pytest.fixture
def loads(library):
    """What open_clip was asked to load."""
    asked = []

    def create(model, *, pretrained, device):
        asked.append((model, pretrained, device))
        return Model(), "augmentation", lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255

    library("open_clip", create_model_and_transforms=create, get_tokenizer=lambda model: lambda texts: torch.tensor([[float(len(t))] for t in texts]))
    _load.cache_clear()
    yield asked
    _load.cache_clear()


def test_one_model_serves_pictures_and_texts(loads):
    encoder = OpenClip(model="ViT-X", pretrained="some_tag")
    images, texts = encoder.build(torch.device("cpu")), encoder.build(torch.device("cpu"), None)
    assert loads == [("ViT-X", "some_tag", "cpu")]
    assert images.dim == texts.dim == 2
    found = images.encode([Image.new("RGB", (3, 2), (153, 204, 0))])
    np.testing.assert_allclose(found, [[0.6, 0.8]], atol=1e-6)  # (.6, .8) has length 1 already
    np.testing.assert_allclose(images.forward([images.prepare(Image.new("RGB", (3, 2), (153, 204, 0)))]), found)
    assert texts.encode(["", "a"]).tolist() == pytest.approx(np.array([[0, 1], [0.5**0.5, 0.5**0.5]]))


def test_other_settings_load_another_model(loads):
    OpenClip().build(torch.device("cpu"))
    OpenClip(model="hf-hub:someone/model", pretrained=None).build(torch.device("cpu"))
    assert loads == [("ViT-B-32", "laion2b_s34b_b79k", "cpu"), ("hf-hub:someone/model", None, "cpu")]


def test_random_weights_are_refused():
    with pytest.raises(ValidationError, match="random weights"):
        OpenClip(model="ViT-B-32", pretrained=None)


def test_a_missing_library_names_the_command(no_library):
    no_library("open_clip")
    _load.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'xmr-ray\[open-clip\]'"):
        OpenClip().build(torch.device("cpu"))
