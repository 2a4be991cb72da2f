"""Softmax cross-entropy with soft targets, for pairs with one label ([method] A1.4, J1 of A2.2)."""

from typing import Literal

from xmr_ray.losses.loss import LabelLoss, LabelRows, LossSums


class CrossEntropy(LabelLoss):
    """`-sum_c y_c log softmax(z)_c`, summed over heads, each row weighted by its mean trust; class weights play no part."""

    kind: Literal["cross_entropy"] = "cross_entropy"

    def sums(self, rows: LabelRows) -> LossSums:
        """Trust-weighted sum over rows, and the sum of trust."""
        trust_B = rows.trust_BC.mean(dim=1) * rows.weight_B
        total = trust_B.new_zeros(())
        for logits_BC in rows.heads:
            total = total - ((rows.targets_BC * logits_BC.log_softmax(dim=1)).sum(dim=1) * trust_B).sum()
        return LossSums(total, trust_B.sum())
