"""Stage 1: label probabilities of a pair from both modalities ([method] A1)."""

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from xmr_ray.component import Component
from xmr_ray.networks.dims import NetworkDims, Width, resolve_width
from xmr_ray.networks.dropout import ByteDropout
from xmr_ray.networks.standardise import Standardise
from xmr_ray.types import FeatureStatistics

Fusion = Literal["weighted", "joint", "ensemble", "mean", "image", "text"]


class LabelLogits(NamedTuple):
    """Logits (B, C) of the three heads, not yet calibrated."""

    image_BC: torch.Tensor
    text_BC: torch.Tensor
    joint_BC: torch.Tensor


class TwoBranch(Component):
    """One branch and head per modality, and a joint network on the concatenated features."""

    kind: Literal["two_branch"] = "two_branch"
    hidden: Width = Field(default="auto", description="hidden width; auto: 4 times the wider feature, 128 to 512")
    input_dropout: float = Field(default=0.2, ge=0, lt=1, description="dropout of features")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="dropout of hidden units")
    fusion: Fusion = Field(default="ensemble", description="how the heads make one probability; ensemble is the mean of weighted and joint")
    joint_image_scale: float = Field(default=0.5, gt=0, description="image features are multiplied by this before the joint network")

    def build(self, dims: NetworkDims) -> "LabelPredictor":
        """A network with fresh weights from torch's present random state."""
        return LabelPredictor(self, dims)


class LabelPredictor(nn.Module):
    """The networks of stage 1 with everything that their probabilities need: standardisation, temperatures, fusion weight.

    Every operation works row by row: the probabilities of a pair do not depend on its neighbours in the batch.
    """

    temperature_3: torch.Tensor
    fusion_weight: torch.Tensor

    def __init__(self, config: TwoBranch, dims: NetworkDims) -> None:
        super().__init__()
        self.config, self.dims = config, dims
        self.hidden = hidden = resolve_width(config.hidden, dims, narrowest=128, widest=512, factor=4)
        self.standardise_image, self.standardise_text = Standardise(dims.image_dim), Standardise(dims.text_dim)
        self.image_branch = self._branch(dims.image_dim, hidden)
        self.text_branch = self._branch(dims.text_dim, hidden)
        self.joint_branch = self._branch(dims.image_dim + dims.text_dim, hidden)
        self.register_buffer("temperature_3", torch.ones(3))
        self.register_buffer("fusion_weight", torch.tensor(0.5))

    def _branch(self, width: int, hidden: int) -> nn.Sequential:
        config = self.config
        layers = [ByteDropout(config.input_dropout), nn.Linear(width, hidden), nn.ReLU(), ByteDropout(config.dropout)]
        return nn.Sequential(*layers, nn.Linear(hidden, self.dims.num_classes))

    def set_statistics(self, statistics: FeatureStatistics) -> None:
        """Take over mean and standard deviation of the train split."""
        self.standardise_image.set(statistics.image_mean_I, statistics.image_std_I)
        self.standardise_text.set(statistics.text_mean_T, statistics.text_std_T)

    def forward(self, image_BI: torch.Tensor, text_BT: torch.Tensor) -> LabelLogits:
        """Raw features to float32 logits of the three heads."""
        return self.with_hidden(image_BI, text_BT)[0]

    def with_hidden(self, image_BI: torch.Tensor, text_BT: torch.Tensor) -> tuple[LabelLogits, tuple[torch.Tensor, ...]]:
        """Logits, and the hidden units (B, H) of the three branches from which the heads make them."""
        image_BI, text_BT = self.standardise_image(image_BI), self.standardise_text(text_BT)
        joint_BJ = torch.cat([image_BI * self.config.joint_image_scale, text_BT], dim=1)
        inputs = ((self.image_branch, image_BI), (self.text_branch, text_BT), (self.joint_branch, joint_BJ))
        hidden = tuple(_without_head(branch, values) for branch, values in inputs)
        return LabelLogits(*(branch[-1](units_BH).float() for (branch, _), units_BH in zip(inputs, hidden, strict=True))), hidden

    def probabilities(self, image_BI: torch.Tensor, text_BT: torch.Tensor) -> torch.Tensor:
        """Calibrated and fused class probabilities (B, C), float32; rows sum to 1 where a pair has one label."""
        return self.fuse(self(image_BI, text_BT))

    def fuse(self, logits: LabelLogits) -> torch.Tensor:
        """Probabilities (B, C) from logits with this network's temperatures, fusion and fusion weight."""
        return fuse(logits, fusion=self.config.fusion, temperature_3=self.temperature_3, weight=self.fusion_weight, multi_label=self.dims.multi_label)


class CentredPredictor(nn.Module):
    """A label predictor with a centre for every branch and class, for training with the center loss; the centres have no part in predictions."""

    def __init__(self, predictor: LabelPredictor) -> None:
        super().__init__()
        self.predictor = predictor
        self.centres_3CH = nn.Parameter(torch.zeros(3, predictor.dims.num_classes, predictor.hidden))

    def forward(self, image_BI: torch.Tensor, text_BT: torch.Tensor) -> tuple[LabelLogits, torch.Tensor, torch.Tensor]:
        """Logits, float32 hidden units (3, B, H) of the branches, and the centres (3, C, H)."""
        logits, hidden = self.predictor.with_hidden(image_BI, text_BT)
        return logits, torch.stack(hidden).float(), self.centres_3CH


def _without_head(branch: nn.Sequential, values: torch.Tensor) -> torch.Tensor:
    for layer in list(branch)[:-1]:
        values = layer(values)
    return values


def fuse(logits: LabelLogits, *, fusion: Fusion, temperature_3: torch.Tensor, weight: torch.Tensor | float, multi_label: bool) -> torch.Tensor:
    """One probability per class from three calibrated heads ([method] A1.3).

    `weighted` is `log P = a log P_image + (1 - a) log P_text`, renormalised: over the classes where a pair has one label, over present and
    absent for each class where it may have several. Either way it is the activation of the weighted logits.

    >>> logits = LabelLogits(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, 0.0]]))
    >>> fused = fuse(logits, fusion="weighted", temperature_3=torch.ones(3), weight=0.5, multi_label=False)
    >>> torch.allclose(fused, torch.softmax(torch.tensor([[1.0, 0.0]]), dim=1))
    True
    """
    image_BC, text_BC, joint_BC = (head / temperature_3[i] for i, head in enumerate(logits))

    def activate(values_BC: torch.Tensor) -> torch.Tensor:
        return values_BC.sigmoid() if multi_label else values_BC.softmax(dim=1)

    if fusion == "image":
        return activate(image_BC)
    if fusion == "text":
        return activate(text_BC)
    if fusion == "joint":
        return activate(joint_BC)
    if fusion == "mean":
        return (activate(image_BC) + activate(text_BC)) / 2
    weighted_BC = activate(weight * image_BC + (1 - weight) * text_BC)
    return weighted_BC if fusion == "weighted" else (weighted_BC + activate(joint_BC)) / 2
