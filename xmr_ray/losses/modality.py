"""How well the modality of an embedding can be told ([DANN]; [method] A2.2, option)."""

import torch
from torch.nn import functional

from xmr_ray.losses.loss import LossSums


def modality_sums(image_logit_B: torch.Tensor, text_logit_B: torch.Tensor, weight_B: torch.Tensor) -> LossSums:
    """Binary cross-entropy of "this is an image" over both embeddings of every pair, labelled or not; the mass is the number of embeddings."""
    per_pair_B = functional.softplus(-image_logit_B) + functional.softplus(text_logit_B)
    return LossSums((per_pair_B * weight_B).sum(), 2 * weight_B.sum())
