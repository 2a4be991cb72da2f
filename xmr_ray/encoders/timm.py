"""Any backbone of timm, with the preparation that its weights were trained with."""

from typing import ClassVar, Literal

import torch

from xmr_ray.encoders.encoder import Encoder
from xmr_ray.encoders.image_network import ImageNetwork
from xmr_ray.encoders.imports import required


class Timm(Encoder):
    """Pooled features of a timm model without its classifier; weights from the hub, or from a local `checkpoint`."""

    files: ClassVar[tuple[str, ...]] = ("checkpoint",)
    kind: Literal["timm"] = "timm"
    model: str = "resnet50.a1_in1k"
    checkpoint: str | None = None

    def build(self, device: torch.device) -> ImageNetwork:
        """The network on `device`; raises `ConfigError` if timm is missing."""
        library = required("timm", kind=self.kind, extra="timm")
        model = library.create_model(self.model, pretrained=self.checkpoint is None, checkpoint_path=self.checkpoint or "")
        model.reset_classifier(0)
        prepare = library.data.create_transform(**library.data.resolve_model_data_config(model), is_training=False)
        return ImageNetwork(model.num_features, device, prepare, model.eval().to(device))
