"""Multi-label supervised contrastive loss across modalities ([SupCon]; [method] A2.2, option)."""

from typing import Literal

import torch
from pydantic import Field

from xmr_ray.losses.loss import LossSums, SpaceLoss, SpaceRows
from xmr_ray.losses.pairwise import target_similarity


class SupCon(SpaceLoss):
    """`-sum_j S_ij log softmax_j(cos_ij / t) / sum_j S_ij`, image against all texts and text against all images.

    Positives are weighted by the similarity of targets and by trust; the own pair is always a positive of weight 1.
    """

    kind: Literal["supcon"] = "supcon"
    temperature: float = Field(default=0.2, gt=0, description="divides cosines")
    pairs = True

    def sums(self, local: SpaceRows, everyone: SpaceRows) -> LossSums:
        """Sum over this rank's rows as anchors, and the sum of their weights."""
        present_A = everyone.weight_B > 0
        positives_BA = target_similarity(local, everyone) * everyone.row_trust_B[None, :] * local.row_trust_B[:, None]
        total = torch.zeros((), device=positives_BA.device)
        both = (
            (local.image_embedding_BD, everyone.text_embedding_BD, local.text_embedding_BD),
            (local.text_embedding_BD, everyone.image_embedding_BD, local.image_embedding_BD),
        )
        for anchor_BD, others_AD, own_BD in both:
            cosine_BA = (anchor_BD @ others_AD.T) / self.temperature
            spread_B = cosine_BA.masked_fill(~present_A[None, :], -torch.inf).logsumexp(dim=1) if present_A.any() else cosine_BA.sum(dim=1)
            own_B = (anchor_BD * own_BD).sum(dim=1) / self.temperature
            attraction_B = ((cosine_BA * positives_BA).sum(dim=1) + own_B) / (positives_BA.sum(dim=1) + 1)
            total = total + ((spread_B - attraction_B) * local.weight_B).sum()
        return LossSums(total, local.weight_B.sum())
