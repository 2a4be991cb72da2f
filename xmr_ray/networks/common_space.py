"""Stage 2: two towers into one space, with class probabilities of each modality alone ([method] A2)."""

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from xmr_ray.component import Component
from xmr_ray.networks.dims import NetworkDims, Width, resolve_width
from xmr_ray.networks.dropout import ByteDropout
from xmr_ray.networks.standardise import Standardise
from xmr_ray.types import FeatureStatistics

_ADVERSARY_HIDDEN = 64


class TowerOutputs(NamedTuple):
    """Of both modalities: unit embeddings (B, D), logits of the class probabilities and logits of the classifier that reads embeddings (B, C).

    Modality logits (B,), of "this is an image", are there only in training and where the network has an adversary.
    """

    image_embedding_BD: torch.Tensor
    text_embedding_BD: torch.Tensor
    image_logits_BC: torch.Tensor
    text_logits_BC: torch.Tensor
    image_shared_logits_BC: torch.Tensor
    text_shared_logits_BC: torch.Tensor
    image_modality_B: torch.Tensor | None = None
    text_modality_B: torch.Tensor | None = None


class TwoTower(Component):
    """A hidden layer per modality, then one linear layer and one classifier that both share.

    `classifier: own` adds a head of its own to each tower, which makes the class probabilities; in our measurements it is better than
    reading them through the shared layer (`shared`). `embedding_gradient` scales what the shared layer sends back into the towers.
    With `adversarial_weight` a classifier learns to tell the modality of an embedding, and its gradient reaches the embedding reversed
    ([DANN]): always the shared layer, the towers to the share of `embedding_gradient`.
    """

    kind: Literal["two_tower"] = "two_tower"
    hidden: Width = Field(default="auto", description="hidden width of a tower; auto: 4 times the wider feature, 256 to 1024")
    common: Width = Field(default="auto", description="width of the common space; auto: twice the wider feature, 128 to 512")
    input_dropout: float = Field(default=0.4, ge=0, lt=1, description="dropout of features")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="dropout of hidden units")
    classifier: Literal["own", "shared"] = Field(default="own", description="what makes the class probabilities")
    embedding_gradient: float = Field(
        default=0.0, ge=0, le=1, description="share of the embedding's gradient that reaches the towers (classifier: own)"
    )
    adversarial_weight: float = Field(default=0.0, ge=0, description="weight of the loss of a modality classifier behind reversed gradient; 0: none")

    def build(self, dims: NetworkDims) -> "CommonSpace":
        """A network with fresh weights from torch's present random state."""
        return CommonSpace(self, dims)


class CommonSpace(nn.Module):
    """Both towers; rows do not see each other."""

    def __init__(self, config: TwoTower, dims: NetworkDims) -> None:
        super().__init__()
        self.config, self.dims = config, dims
        hidden = resolve_width(config.hidden, dims, narrowest=256, widest=1024, factor=4)
        common = resolve_width(config.common, dims, narrowest=128, widest=512, factor=2)
        self.standardise_image, self.standardise_text = Standardise(dims.image_dim), Standardise(dims.text_dim)
        self.image_tower, self.text_tower = self._tower(dims.image_dim, hidden), self._tower(dims.text_dim, hidden)
        self.shared = nn.Linear(hidden, common)
        self.shared_classifier = nn.Linear(common, dims.num_classes)
        if config.classifier == "own":
            self.image_head, self.text_head = nn.Linear(hidden, dims.num_classes), nn.Linear(hidden, dims.num_classes)
        if config.adversarial_weight:
            self.adversary = nn.Sequential(nn.Linear(common, _ADVERSARY_HIDDEN), nn.ReLU(), nn.Linear(_ADVERSARY_HIDDEN, 1))

    def _tower(self, width: int, hidden: int) -> nn.Sequential:
        return nn.Sequential(ByteDropout(self.config.input_dropout), nn.Linear(width, hidden), nn.ReLU(), ByteDropout(self.config.dropout))

    def set_statistics(self, statistics: FeatureStatistics) -> None:
        """Take over mean and standard deviation of the train split."""
        self.standardise_image.set(statistics.image_mean_I, statistics.image_std_I)
        self.standardise_text.set(statistics.text_mean_T, statistics.text_std_T)

    def forward(self, image_BI: torch.Tensor, text_BT: torch.Tensor) -> TowerOutputs:
        """Raw features to embeddings of length 1 and float32 logits."""
        image_BH = self.image_tower(self.standardise_image(image_BI))
        text_BH = self.text_tower(self.standardise_text(text_BT))
        # Both modalities go through the shared layers in one matrix product.
        embedding_2BD, shared_2BC = self._share(torch.cat([image_BH, text_BH]))
        image_embedding_BD, text_embedding_BD = embedding_2BD.chunk(2)
        image_shared_BC, text_shared_BC = shared_2BC.chunk(2)
        image_BC, text_BC = image_shared_BC, text_shared_BC
        if self.config.classifier == "own":
            image_BC, text_BC = self.image_head(image_BH).float(), self.text_head(text_BH).float()
        outputs = TowerOutputs(image_embedding_BD, text_embedding_BD, image_BC, text_BC, image_shared_BC, text_shared_BC)
        if not (self.training and self.config.adversarial_weight):
            return outputs
        image_modality_B, text_modality_B = self._modality(embedding_2BD).chunk(2)
        return outputs._replace(image_modality_B=image_modality_B, text_modality_B=text_modality_B)

    def _modality(self, embedding_BD: torch.Tensor) -> torch.Tensor:
        # The value of an embedding with the negative of its gradient.
        reversed_BD = 2 * embedding_BD.detach() - embedding_BD
        return self.adversary(reversed_BD).float().squeeze(1)

    def _share(self, hidden_BH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.config.classifier == "own":
            share = self.config.embedding_gradient
            hidden_BH = hidden_BH.detach() if share == 0 else hidden_BH * share + hidden_BH.detach() * (1 - share)
        common_BD = self.shared(hidden_BH)
        return functional.normalize(common_BD.float(), dim=1), self.shared_classifier(common_BD).float()

    def embed(self, image_BI: torch.Tensor, text_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Image and text embeddings (B, D) of length 1, then image and text class probabilities (B, C), each of one modality alone."""
        outputs = self(image_BI, text_BT)
        probabilities = [values.sigmoid() if self.dims.multi_label else values.softmax(dim=1) for values in outputs[2:4]]
        return outputs.image_embedding_BD, outputs.text_embedding_BD, probabilities[0], probabilities[1]
