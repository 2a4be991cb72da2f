"""What holds the variances of Gaussian heads: a prior, the 2-Wasserstein distance of a pair, and the likelihood of its difference ([method] B1.2)."""

import math

import torch

from xmr_ray.losses.match import GaussianRows


def variance_prior(rows: GaussianRows) -> torch.Tensor:
    """Divergence of both variances from 1/D, the mean square of a unit vector's coordinate: `sum_d KL(N(0, sigma_d^2) || N(0, 1/D))`, mean of pairs.

    >>> unit = torch.full((2, 4), 0.25)
    >>> variance_prior(GaussianRows(unit, unit, unit, unit, torch.tensor(1.0), torch.tensor(0.0))).item()
    0.0
    """
    total = torch.zeros((), device=rows.slope.device, dtype=rows.slope.dtype)
    for variance_BD in (rows.image_variance_BD, rows.text_variance_BD):
        scaled_BD = variance_BD * variance_BD.shape[1]
        total = total + 0.5 * (scaled_BD - 1 - scaled_BD.log()).sum() / len(variance_BD)
    return total


def wasserstein(rows: GaussianRows) -> torch.Tensor:
    """Squared 2-Wasserstein distance of a pair's Gaussians, `||mu - mu'||^2 + ||sigma - sigma'||^2`, mean of pairs; 0 only if all are equal.

    >>> rows = GaussianRows(*(torch.tensor([[value]]) for value in (1.0, 4.0, 3.0, 1.0)), torch.tensor(1.0), torch.tensor(0.0))
    >>> wasserstein(rows).item()
    5.0
    """
    means = (rows.image_mean_BD - rows.text_mean_BD).square().sum()
    deviations = (rows.image_variance_BD.sqrt() - rows.text_variance_BD.sqrt()).square().sum()
    return (means + deviations) / len(rows.image_mean_BD)


def pair_likelihood(rows: GaussianRows) -> torch.Tensor:
    """Negative log-likelihood of a pair's difference of means under its own variances, without constants, mean of pairs ([Heteroscedastic]).

    `sum_d [d^2 / s + log(s D)] / 2` with `d = mu - mu'` and `s = sigma^2 + sigma'^2`. Only variances learn from it: `d` is held fixed, or
    means would shrink the difference of every pair to nothing. The match loss alone does not teach that a noisy pair is uncertain: its
    variances act as an offset of a row and a column, and a pair whose Gaussians lie far apart lowers them.
    """
    spread_BD = rows.image_variance_BD + rows.text_variance_BD
    difference_BD = (rows.image_mean_BD - rows.text_mean_BD).detach()
    terms_BD = difference_BD.square() / spread_BD + spread_BD.log() + math.log(spread_BD.shape[1])
    return 0.5 * terms_BD.sum() / len(spread_BD)
