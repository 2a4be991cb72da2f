"""Distance between the two embeddings of a pair: J3 of [method] A2.2, after [DSCMR]."""

from typing import Literal

import torch

from xmr_ray.losses.loss import LossSums, SpaceLoss, SpaceRows

_TINY = 1e-12


class Pairing(SpaceLoss):
    """`mean ||u_i - v_i||` over every training pair, labelled or not: trust plays no part."""

    kind: Literal["pairing"] = "pairing"

    def sums(self, local: SpaceRows, everyone: SpaceRows) -> LossSums:  # noqa: ARG002 rows are not compared
        """Sum of distances, and the number of rows."""
        squared_B = (local.image_embedding_BD - local.text_embedding_BD).square().sum(dim=1)
        return LossSums((torch.sqrt(squared_B + _TINY) * local.weight_B).sum(), local.weight_B.sum())
