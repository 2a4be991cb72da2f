from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xmr_ray.encoders.timm import Timm
from xmr_ray.errors import ConfigError


class Backbone(nn.Module):
    """Mean colours, then a classifier until it is taken away."""

    num_features = 3

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 5)

    def reset_classifier(self, num_classes):
        assert num_classes == 0
        self.head = nn.Identity()

    def forward(self, pixels_BCHW):
        assert not self.training
        return self.head(pixels_BCHW.mean(dim=(2, 3)))


@pytest.fixture
def asked(library):
    """What timm was asked to make."""
    seen = []

    def create_model(name, **options):
        seen.append((name, options))
        return Backbone()

    def create_transform(*, input_size, is_training):
        assert not is_training
        return lambda image: torch.from_numpy(np.array(image.resize(input_size))).permute(2, 0, 1).float()

    data = SimpleNamespace(create_transform=create_transform, resolve_model_data_config=lambda model: {"input_size": (6, 4)})
    library("timm", create_model=create_model, data=data)
    return seen


def test_features_come_before_the_classifier(asked):
    built = Timm(model="resnet18").build(torch.device("cpu"))
    assert asked == [("resnet18", {"pretrained": True, "checkpoint_path": ""})]
    assert built.dim == 3
    assert built.prepare(Image.new("RGB", (30, 20))).shape == (3, 4, 6)
    assert built.encode([Image.new("RGB", (30, 20), (1, 2, 3)), Image.new("RGB", (9, 9), (4, 5, 6))]).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_checkpoint_takes_the_place_of_the_download(asked):
    Timm(checkpoint="weights.safetensors").build(torch.device("cpu"))
    assert asked == [("resnet50.a1_in1k", {"pretrained": False, "checkpoint_path": "weights.safetensors"})]


def test_a_missing_library_names_the_command(no_library):
    no_library("timm")
    with pytest.raises(ConfigError, match=r"pip install 'xmr-ray\[timm\]'"):
        Timm().build(torch.device("cpu"))
