"""What a loss is given and what it gives back, so that any split of a batch over ranks has the same value and gradient."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from xmr_ray.component import Component


@dataclass(frozen=True)
class LabelRows:
    """Rows for a classification loss: logits of one or more heads against the same targets.

    Labels enter only through `targets_BC` and `trust_BC`, both in [0, 1]; a row of `weight_B` 0 is padding. Losses that need
    probabilities take the sigmoid of logits where a pair may have several labels, else the softmax.
    """

    heads: tuple[torch.Tensor, ...]
    targets_BC: torch.Tensor
    trust_BC: torch.Tensor
    weight_B: torch.Tensor
    class_weight_C: torch.Tensor | None = None
    multi_label: bool = True


@dataclass(frozen=True)
class SpaceRows:
    """Rows for a loss over unit embeddings; a row of `weight_B` 0 is padding."""

    image_embedding_BD: torch.Tensor
    text_embedding_BD: torch.Tensor
    targets_BC: torch.Tensor
    trust_BC: torch.Tensor
    weight_B: torch.Tensor
    multi_label: bool

    @property
    def row_trust_B(self) -> torch.Tensor:
        """Mean trust of a row's entries times its weight."""
        return self.trust_BC.mean(dim=1) * self.weight_B


class LossSums(NamedTuple):
    """Scalars of one rank: the loss of a batch is the sum of `total` over ranks divided by the sum of `mass` over ranks."""

    total: torch.Tensor
    mass: torch.Tensor


class LabelLoss(Component):
    """A classification loss."""

    def sums(self, rows: LabelRows) -> LossSums:
        """This rank's share of the loss."""
        raise NotImplementedError


class SpaceLoss(Component):
    """A loss over embeddings. `pairs` says that it compares rows: then `everyone` must hold the rows of all ranks, with gradients."""

    pairs: ClassVar[bool] = False

    def sums(self, local: SpaceRows, everyone: SpaceRows) -> LossSums:
        """This rank's share of the loss; `everyone` is `local` itself where there is one rank or rows are not compared."""
        raise NotImplementedError
