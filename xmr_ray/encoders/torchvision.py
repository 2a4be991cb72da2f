"""Any classifier of torchvision without its last linear layer."""

from typing import ClassVar, Literal

import torch
from torch import nn

from xmr_ray.encoders.encoder import Encoder
from xmr_ray.encoders.image_network import ImageNetwork
from xmr_ray.encoders.imports import required
from xmr_ray.errors import ConfigError


class Torchvision(Encoder):
    """What goes into the last linear layer of a torchvision classifier, after the preparation that its weights were trained with.

    `weights` names the entry of the model's weights; a local `checkpoint` (a state dictionary) takes the place of their download.
    """

    files: ClassVar[tuple[str, ...]] = ("checkpoint",)
    kind: Literal["torchvision"] = "torchvision"
    model: str = "resnet50"
    weights: str = "IMAGENET1K_V2"
    checkpoint: str | None = None

    def build(self, device: torch.device) -> ImageNetwork:
        """The network on `device`; raises `ConfigError` if torchvision is missing, does not fit torch, or does not know the names."""
        models = required("torchvision.models", kind=self.kind, extra="torchvision")
        try:
            weights = models.get_model_weights(self.model)[self.weights]
        except (ValueError, KeyError) as error:
            raise ConfigError(f"torchvision has no model {self.model!r} with weights {self.weights!r} ({error}); see its table of models") from error
        model = models.get_model(self.model, weights=weights if self.checkpoint is None else None)
        if self.checkpoint is not None:
            model.load_state_dict(torch.load(self.checkpoint, map_location="cpu", weights_only=True))
        dim = behead(model)
        return ImageNetwork(dim, device, weights.transforms(), model.eval().to(device))


def behead(model: nn.Module) -> int:
    """Put an identity in the place of the model's last linear layer; the number of features that went into it.

    >>> behead(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)))
    5
    """
    linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ConfigError(f"{type(model).__name__} ends in no linear layer, so it is not known where its features are; choose another model")
    name, last = linear[-1]
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, nn.Identity())
    return last.in_features
