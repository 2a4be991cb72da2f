"""Entropy of predictions, for rows without labels ([EntropyMinimisation]; [method] A1.5)."""

import torch
from torch.nn import functional

from xmr_ray.losses.loss import LossSums


def entropy_sums(heads: tuple[torch.Tensor, ...], weight_B: torch.Tensor, *, multi_label: bool) -> LossSums:
    """Entropy in nats of the class distribution, or the sum of the labels' Bernoulli entropies, summed over heads; the mass is the number of rows."""
    total = weight_B.new_zeros(())
    for logits_BC in heads:
        if multi_label:
            entropy_B = (functional.softplus(logits_BC) - logits_BC * logits_BC.sigmoid()).sum(dim=1)
        else:
            entropy_B = -(logits_BC.softmax(dim=1) * logits_BC.log_softmax(dim=1)).sum(dim=1)
        total = total + (entropy_B * weight_B).sum()
    return LossSums(total, weight_B.sum())
