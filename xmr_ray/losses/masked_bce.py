"""Binary cross-entropy per class, for pairs with several labels ([method] A1.4, J1 of A2.2)."""

from typing import Literal

from torch.nn import functional

from xmr_ray.losses.loss import LabelLoss, LabelRows, LossSums


class MaskedBce(LabelLoss):
    """Every entry weighted by its trust, summed over heads and classes; the mean is over rows of full trust.

    `class_weight_C` multiplies the positive part of an entry.
    """

    kind: Literal["masked_bce"] = "masked_bce"

    def sums(self, rows: LabelRows) -> LossSums:
        """Trust-weighted sum of entries, and the trust of all entries divided by the number of classes."""
        trust_BC = rows.trust_BC * rows.weight_B[:, None]
        total = trust_BC.new_zeros(())
        for logits_BC in rows.heads:
            entries_BC = functional.binary_cross_entropy_with_logits(logits_BC, rows.targets_BC, reduction="none", pos_weight=rows.class_weight_C)
            total = total + (entries_BC * trust_BC).sum()
        return LossSums(total, trust_BC.sum() / trust_BC.shape[1])
