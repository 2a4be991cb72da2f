"""Distance of hidden features from the centres of their classes ([CenterLoss] eq. 2; [method] A1.4, option)."""

import torch

from xmr_ray.losses.loss import LossSums


def center_sums(hidden: torch.Tensor, centres: torch.Tensor, labels_BC: torch.Tensor, weight_B: torch.Tensor) -> LossSums:
    """`||h_b - c_y||^2 / 2`, summed over branches; with several labels the mean over them, which is ours.

    `hidden` (branches, B, H) and `centres` (branches, C, H). Centres follow the gradient of the same loss. The mass is the number of
    rows that have a label; others count nothing.
    """
    share_BC = labels_BC / labels_BC.sum(dim=1, keepdim=True).clamp(min=1e-12) * weight_B[:, None]
    squares = hidden.square().sum(dim=2)[:, :, None] - 2 * hidden @ centres.transpose(1, 2) + centres.square().sum(dim=2)[:, None, :]
    return LossSums((squares * share_BC).sum() / 2, share_BC.sum())
