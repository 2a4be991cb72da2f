"""Distance of a row of logits from its row of targets: J1 in the form of [DSCMR] ([method] A2.2, option)."""

from typing import Literal

import torch

from xmr_ray.losses.loss import LabelLoss, LabelRows, LossSums

_TINY = 1e-12


class RowNorm(LabelLoss):
    """`||trust * (z - y)||_2`, summed over heads: with one trust for the whole row, that trust times `||z - y||_2`.

    Logits are fitted to 0 and 1 themselves, so probabilities made from them rank classes but are not sure of any. Class weights play no part.
    """

    kind: Literal["row_norm"] = "row_norm"

    def sums(self, rows: LabelRows) -> LossSums:
        """Sum of the norms of rows, and the sum of the rows' mean trust."""
        total = rows.weight_B.new_zeros(())
        for logits_BC in rows.heads:
            squared_B = ((logits_BC - rows.targets_BC) * rows.trust_BC).square().sum(dim=1)
            # This form of the root is exactly 0 for a row without trust, and so is its gradient.
            total = total + (squared_B / torch.sqrt(squared_B + _TINY) * rows.weight_B).sum()
        return LossSums(total, (rows.trust_BC.mean(dim=1) * rows.weight_B).sum())
