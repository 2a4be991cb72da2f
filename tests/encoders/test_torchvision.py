import enum

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xmr_ray.encoders.torchvision import Torchvision, behead
from xmr_ray.errors import ConfigError


class Resnet(nn.Module):
    """Doubled mean colours, then a classifier; `fc` as in torchvision."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.fc = nn.Linear(3, 1000)

    def forward(self, pixels_BCHW):
        assert not self.training
        return self.fc(self.gain * pixels_BCHW.mean(dim=(2, 3)))


class Weights(enum.Enum):
    IMAGENET1K_V2 = 1

    def transforms(self):
        return lambda image: torch.from_numpy(np.array(image.resize((4, 4)))).permute(2, 0, 1).float()


@pytest.fixture
def asked(library):
    seen = []

    def get_model_weights(name):
        if name != "resnet50":
            raise ValueError(f"Unknown model {name}")
        return Weights

    def get_model(name, *, weights):
        seen.append((name, weights))
        return Resnet()

    library("torchvision")
    library("torchvision.models", get_model=get_model, get_model_weights=get_model_weights)
    return seen


def test_features_go_into_the_last_layer(asked):
    built = Torchvision().build(torch.device("cpu"))
    assert asked == [("resnet50", Weights.IMAGENET1K_V2)]
    assert built.dim == 3
    assert built.encode([Image.new("RGB", (30, 20), (1, 2, 3))]).tolist() == [[2, 4, 6]]


def test_a_checkpoint_takes_the_place_of_the_download(asked, tmp_path):
    other = Resnet()
    other.gain.fill_(5.0)
    torch.save(other.state_dict(), tmp_path / "weights.pth")
    built = Torchvision(checkpoint=str(tmp_path / "weights.pth")).build(torch.device("cpu"))
    assert asked == [("resnet50", None)]
    assert built.encode([Image.new("RGB", (30, 20), (1, 2, 3))]).tolist() == [[5, 10, 15]]


@pytest.mark.parametrize("options", [{"model": "resnet51"}, {"weights": "IMAGENET1K_V9"}])
def test_unknown_names(options, asked):
    with pytest.raises(ConfigError, match="torchvision has no model"):
        Torchvision(**options).build(torch.device("cpu"))


def test_only_the_last_linear_layer_goes():
    classifier = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 10))
    model = nn.ModuleDict({"features": nn.Linear(3, 4), "classifier": classifier})
    assert behead(model) == 6
    assert [type(layer).__name__ for layer in classifier] == ["Linear", "ReLU", "Dropout", "Identity"]
    with pytest.raises(ConfigError, match="ends in no linear layer"):
        behead(nn.Conv2d(3, 1000, 1))


def test_a_missing_library_names_the_command(no_library):
    no_library("torchvision")
    no_library("torchvision.models")
    with pytest.raises(ConfigError, match=r"pip install 'xmr-ray\[torchvision\]'"):
        Torchvision().build(torch.device("cpu"))
