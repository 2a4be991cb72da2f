"""Which image belongs to which text, from Gaussians: binary cross-entropy over every image and text of a batch ([method] B1.2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch.nn import functional

from xmr_ray.component import Component


@dataclass(frozen=True)
class GaussianRows:
    """Diagonal Gaussians (B, D) of the images and texts of B pairs, with slope and offset (scalars) of the match logit."""

    image_mean_BD: torch.Tensor
    image_variance_BD: torch.Tensor
    text_mean_BD: torch.Tensor
    text_variance_BD: torch.Tensor
    slope: torch.Tensor
    offset: torch.Tensor


def match_logits(rows: GaussianRows) -> torch.Tensor:
    """`s_ij = offset - slope E||z_image,i - z_text,j||^2` (B, B), after [PCME++].

    The expectation is `||mu_i - mu_j||^2 + sum_d (sigma_i^2 + sigma_j^2)`.

    >>> values = (torch.tensor([[value]]) for value in (1.0, 0.5, 3.0, 0.5))
    >>> match_logits(GaussianRows(*values, slope=torch.tensor(2.0), offset=torch.tensor(1.0))).item()
    -9.0
    """
    spread_BB = rows.image_variance_BD.sum(dim=1)[:, None] + rows.text_variance_BD.sum(dim=1)[None, :]
    return rows.offset - rows.slope * (_squared_distances(rows.image_mean_BD, rows.text_mean_BD) + spread_BB)


class ClosedFormMatch(Component):
    """`sum_ij softplus(s_ij) - sum_i s_ii`, divided by the number of pairs, with the closed-form logits; no draws."""

    kind: Literal["closed_form"] = "closed_form"

    def value(self, rows: GaussianRows, generator: torch.Generator) -> torch.Tensor:  # noqa: ARG002 nothing is drawn
        """The loss of a batch."""
        logits_BB = match_logits(rows)
        return (functional.softplus(logits_BB).sum() - logits_BB.diagonal().sum()) / len(logits_BB)


class SampledMatch(Component):
    """The same cross-entropy on match probabilities that are means over all pairs of K draws: the soft contrastive loss of [PCME].

    Ours measures squared distances, so that slope and offset mean what they mean in closed form. For comparison: it needs `K^2` times the
    logits.
    """

    kind: Literal["pcme_mc"] = "pcme_mc"
    num_draws: int = Field(default=7, ge=1, description="draws of each Gaussian")

    def value(self, rows: GaussianRows, generator: torch.Generator) -> torch.Tensor:
        """The loss of a batch; draws come from `generator`, a CPU generator."""
        num_pairs = len(rows.image_mean_BD)
        image_SD = self._draws(rows.image_mean_BD, rows.image_variance_BD, generator)
        text_SD = self._draws(rows.text_mean_BD, rows.text_variance_BD, generator)
        logits_SS = rows.offset - rows.slope * _squared_distances(image_SD, text_SD)
        logits = logits_SS.view(num_pairs, self.num_draws, num_pairs, self.num_draws)
        matched_B = functional.logsigmoid(logits.diagonal(dim1=0, dim2=2)).logsumexp(dim=(0, 1))
        unmatched_BB = functional.logsigmoid(-logits).logsumexp(dim=(1, 3))
        # The log of the number of draws is subtracted from all B^2 entries at once.
        total = unmatched_BB.diagonal().sum() - unmatched_BB.sum() - matched_B.sum()
        return total / num_pairs + num_pairs * 2 * torch.log(torch.tensor(float(self.num_draws), device=total.device))

    def _draws(self, mean_BD: torch.Tensor, variance_BD: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """K rows per pair, one pair after another."""
        noise_BKD = torch.randn(len(mean_BD), self.num_draws, mean_BD.shape[1], generator=generator, dtype=mean_BD.dtype).to(mean_BD.device)
        return (mean_BD[:, None] + variance_BD.sqrt()[:, None] * noise_BKD).flatten(0, 1)


def _squared_distances(image_ND: torch.Tensor, text_MD: torch.Tensor) -> torch.Tensor:
    squares_NM = image_ND.square().sum(dim=1)[:, None] + text_MD.square().sum(dim=1)[None, :]
    return (squares_NM - 2 * image_ND @ text_MD.T).clamp(min=0.0)
