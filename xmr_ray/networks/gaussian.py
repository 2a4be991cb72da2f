"""Probabilistic heads: a Gaussian per pair and modality on the frozen embeddings of the common space ([method] B1; idea: [PCME])."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from xmr_ray.component import Component
from xmr_ray.networks.dims import Width
from xmr_ray.networks.dropout import ByteDropout
from xmr_ray.networks.match import PairGaussians, match_probability

_SMALLEST_SQUARE = 1e-8
_NARROWEST, _WIDEST, _STEP = 128, 256, 64


class ResidualHeads(Component):
    """One hidden layer per modality, from which a correction of the embedding and a log variance per dimension are read.

    Fresh heads keep the embedding as the mean and give every pair the same variance. Variances are told as totals, summed over the
    dimensions of the space: means have length 1, so a total of 1 is as large as the mean itself.
    """

    kind: Literal["residual"] = "residual"
    hidden: Width = Field(default="auto", description="hidden width; auto: twice the width of the space in steps of 64, from 128 to 256")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout of embeddings and of hidden units")
    initial_variance: float = Field(default=0.1, gt=0, description="total variance of a modality before training")
    lowest_variance: float = Field(default=1e-4, gt=0, description="the total variance is at least this")
    highest_variance: float = Field(default=4.0, gt=0, description="the total variance is at most this")
    inter: Literal["match", "disagreement"] = Field(
        default="match", description="the score `inter`: one minus the match probability, or the trace of the part between modalities"
    )

    def build(self, embedding_dim: int) -> "GaussianHeads":
        """Heads for a common space of this width, with fresh weights from torch's present random state."""
        return GaussianHeads(self, embedding_dim)


class GaussianHeads(nn.Module):
    """Both modalities' heads, with slope and offset of the match logit; rows do not see each other."""

    def __init__(self, config: ResidualHeads, embedding_dim: int) -> None:
        super().__init__()
        self.config, self.embedding_dim = config, embedding_dim
        hidden = min(_WIDEST, max(_NARROWEST, -(-2 * embedding_dim // _STEP) * _STEP)) if config.hidden == "auto" else config.hidden
        self.image, self.text = _Head(config, embedding_dim, hidden), _Head(config, embedding_dim, hidden)
        self.log_slope, self.offset = nn.Parameter(torch.tensor(math.log(10.0))), nn.Parameter(torch.tensor(5.0))

    @property
    def slope(self) -> torch.Tensor:
        """Slope of the match logit, above 0."""
        return self.log_slope.exp()

    def set_centres(self, image_ND: torch.Tensor, text_ND: torch.Tensor) -> None:
        """Take over what the trunks centre and scale their input by: mean and spread of these embeddings."""
        self.image.set_centre(image_ND)
        self.text.set_centre(text_ND)

    def forward(self, image_BD: torch.Tensor, text_BD: torch.Tensor) -> PairGaussians:
        """Unit embeddings of pairs to a diagonal Gaussian per modality; means have length 1."""
        return PairGaussians(*self.image(image_BD), *self.text(text_BD))

    @torch.no_grad()
    def match_probability(self, pair: PairGaussians) -> torch.Tensor:
        """Probability (B,) that image and text belong together, among as many candidates as a training batch held: it ranks, it is no odds."""
        return match_probability(pair, slope=float(self.slope), offset=float(self.offset))


class _Head(nn.Module):
    centre_D: torch.Tensor
    scale: torch.Tensor

    def __init__(self, config: ResidualHeads, width: int, hidden: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(ByteDropout(config.dropout), nn.Linear(width, hidden), nn.ReLU(), ByteDropout(config.dropout))
        self.residual, self.log_variance = nn.Linear(hidden, width), nn.Linear(hidden, width)
        for layer in (self.residual, self.log_variance):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.log_variance.bias, math.log(config.initial_variance / width))
        self.register_buffer("centre_D", torch.zeros(width))
        self.register_buffer("scale", torch.tensor(math.sqrt(width)))
        self._range = math.log(config.lowest_variance / width), math.log(config.highest_variance / width)

    def set_centre(self, embedding_ND: torch.Tensor) -> None:
        """Mean of the embeddings, and the factor that gives what is left of them a mean square of 1 in each coordinate."""
        self.centre_D.copy_(embedding_ND.mean(dim=0))
        mean_square = (embedding_ND - self.centre_D).square().mean()
        self.scale.copy_(mean_square.clamp(min=_SMALLEST_SQUARE).rsqrt())

    def forward(self, embedding_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Embeddings of a learnt space share a long mean; a trunk that sees it loses most of its units.
        hidden_BH = self.trunk((embedding_BD - self.centre_D) * self.scale)
        mean_BD = functional.normalize(embedding_BD + self.residual(hidden_BH), dim=1)
        return mean_BD, self.log_variance(hidden_BH).clamp(*self._range).exp()
