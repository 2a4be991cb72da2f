"""CLIP and its relatives through open_clip: one model for pictures and texts, from the hub or a local checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self, cast

import torch
from PIL import Image
from pydantic import model_validator
from torch import Tensor

from xmr_ray.encoders.encoder import Encoder
from xmr_ray.encoders.image_network import ImageNetwork, to_floats
from xmr_ray.encoders.imports import required
from xmr_ray.types import Floats


class OpenClip(Encoder):
    """L2-normalised features of any open_clip model; the same settings for image and text load it once.

    `model` is a name that open_clip knows, `hf-hub:<repository>` or `local-dir:<folder>`; `pretrained` is a tag of published weights or the
    path of a checkpoint, and is needed for plain names only: weights are never random.
    """

    files: ClassVar[tuple[str, ...]] = ("pretrained",)
    kind: Literal["open_clip"] = "open_clip"
    model: str = "ViT-B-32"
    pretrained: str | None = "laion2b_s34b_b79k"

    @model_validator(mode="after")
    def _has_weights(self) -> Self:
        if ":" not in self.model and not self.pretrained:
            raise ValueError(f"model {self.model!r} without `pretrained` has random weights; give a tag of published weights or a checkpoint's path")
        return self

    def build(self, device: torch.device, state: bytes | None = None) -> "BuiltOpenClip":
        """The model on `device`; raises `ConfigError` if open_clip is missing."""
        self.refuse(state)
        return _load(self, str(device))


@dataclass(frozen=True)
class BuiltOpenClip:
    """Encodes pictures or texts, whichever it is given."""

    images: ImageNetwork
    model: Any
    tokenise: Any

    @property
    def dim(self) -> int:
        """Numbers per row, the same for pictures and texts."""
        return self.images.dim

    def prepare(self, image: Image.Image) -> Tensor:
        """One picture's pixels as the model takes them."""
        return self.images.prepare(image)

    def forward(self, pixels: Sequence[Tensor]) -> Floats:
        """Features (B, dim) of prepared pictures."""
        return self.images.forward(pixels)

    def encode(self, items: Sequence[Image.Image] | Sequence[str]) -> Floats:
        """Features (B, dim), each row of length 1."""
        if not isinstance(items[0], str):
            return self.images.encode(cast("Sequence[Image.Image]", items))
        with torch.inference_mode():
            features_BD = self.model.encode_text(self.tokenise(list(items)).to(self.images.device), normalize=True)
        return to_floats(features_BD)


@lru_cache(maxsize=1)
def _load(settings: OpenClip, device: str) -> BuiltOpenClip:
    library = required("open_clip", kind=settings.kind, extra="open-clip")
    model, _, prepare = library.create_model_and_transforms(settings.model, pretrained=settings.pretrained, device=device)
    model = model.eval()
    tokenise = library.get_tokenizer(settings.model)
    with torch.inference_mode():
        dim = int(model.encode_text(tokenise([""]).to(device)).shape[1])
    images = ImageNetwork(dim, torch.device(device), prepare, lambda pixels_BCHW: model.encode_image(pixels_BCHW, normalize=True))
    return BuiltOpenClip(images, model, tokenise)
