"""Negative log-likelihood of pairwise similarities: J2 of [method] A2.2, after [DSCMR]."""

from typing import Literal

import torch
from torch.nn import functional

from xmr_ray.losses.loss import LossSums, SpaceLoss, SpaceRows


class Pairwise(SpaceLoss):
    """`mean_ij log(1 + e^theta) - S_ij theta` with `theta = cos / 2`, over image-image, image-text and text-text.

    `S` is the similarity of targets: their inner product for single labels, their cosine for several; row pairs weigh the product of trusts.
    """

    kind: Literal["pairwise"] = "pairwise"
    pairs = True

    def sums(self, local: SpaceRows, everyone: SpaceRows) -> LossSums:
        """Sum over this rank's rows against all rows, and the sum of weights."""
        weight_BA = local.row_trust_B[:, None] * everyone.row_trust_B[None, :]
        similarity_BA = target_similarity(local, everyone)
        sides = (
            (local.image_embedding_BD, everyone.image_embedding_BD),
            (local.image_embedding_BD, everyone.text_embedding_BD),
            (local.text_embedding_BD, everyone.text_embedding_BD),
        )
        total = torch.zeros((), device=weight_BA.device)
        for mine_BD, theirs_AD in sides:
            theta_BA = (mine_BD @ theirs_AD.T) / 2
            total = total + ((functional.softplus(theta_BA) - similarity_BA * theta_BA) * weight_BA).sum()
        return LossSums(total, weight_BA.sum())


def target_similarity(local: SpaceRows, everyone: SpaceRows) -> torch.Tensor:
    """How similar the targets of this rank's rows are to all rows' (B, A), in [0, 1]."""
    if local.multi_label:
        return functional.normalize(local.targets_BC, dim=1) @ functional.normalize(everyone.targets_BC, dim=1).T
    return local.targets_BC @ everyone.targets_BC.T
