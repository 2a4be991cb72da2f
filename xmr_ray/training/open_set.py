"""Pairs that seem to belong to no known class: their predicted labels are not trusted ([method] A1.8)."""

import math

import torch

from xmr_ray.training.targets import Targets


def normalised_entropy(probabilities_BC: torch.Tensor, *, multi_label: bool) -> torch.Tensor:
    """Entropy (B,) in [0, 1]: of the class distribution, or the mean Bernoulli entropy of the labels; 1 where nothing is known.

    >>> normalised_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), multi_label=False).tolist()
    [1.0, 0.0]
    """
    p_BC = probabilities_BC.double()
    if multi_label:
        return (torch.special.entr(p_BC) + torch.special.entr(1 - p_BC)).mean(dim=1) / math.log(2)
    return torch.special.entr(p_BC).sum(dim=1) / math.log(max(p_BC.shape[1], 2))


def entropy_limit(held_out_BC: torch.Tensor, quantile: float, *, multi_label: bool) -> float:
    """The quantile of held-out labelled pairs' normalised entropy, beyond which a pair counts as of no known class."""
    return float(torch.quantile(normalised_entropy(held_out_BC, multi_label=multi_label), quantile))


def distrust_beyond(targets: Targets, probabilities_BC: torch.Tensor, limit: float, *, multi_label: bool) -> Targets:
    """Targets whose trust is 0 for pairs with a normalised entropy above `limit`: only losses that look at no label still see them."""
    inside_B = normalised_entropy(probabilities_BC, multi_label=multi_label) <= limit
    return Targets(targets.targets_BC, targets.trust_BC * inside_B[:, None])
