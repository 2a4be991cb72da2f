"""Squared error of probabilities (the Brier score), for either kind of labels ([method] A1.4, option)."""

from typing import Literal

from xmr_ray.losses.loss import LabelLoss, LabelRows, LossSums


class Mse(LabelLoss):
    """`sum_c (p_c - y_c)^2` with `p` the sigmoid of logits, or their softmax where a pair has one label; summed over heads.

    Every entry is weighted by its trust, and the mean is over rows of full trust. Class weights play no part.
    """

    kind: Literal["mse"] = "mse"

    def sums(self, rows: LabelRows) -> LossSums:
        """Trust-weighted sum of entries, and the trust of all entries divided by the number of classes."""
        trust_BC = rows.trust_BC * rows.weight_B[:, None]
        total = trust_BC.new_zeros(())
        for logits_BC in rows.heads:
            probabilities_BC = logits_BC.sigmoid() if rows.multi_label else logits_BC.softmax(dim=1)
            total = total + ((probabilities_BC - rows.targets_BC).square() * trust_BC).sum()
        return LossSums(total, trust_BC.sum() / trust_BC.shape[1])
