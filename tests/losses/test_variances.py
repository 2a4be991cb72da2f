import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence

from xmr_ray.losses import GaussianRows, pair_likelihood, variance_prior, wasserstein


@pytest.fixture
def rows():
    rng = torch.Generator().manual_seed(0)
    means, logs = torch.randn(4, 5, 3, generator=rng, dtype=torch.float64).chunk(2)
    return GaussianRows(means[0], logs[0].exp(), means[1], logs[1].exp(), *torch.ones(2, dtype=torch.float64))


def test_prior_is_the_divergence_from_normals_of_variance_one_over_width(rows):
    prior = Normal(torch.zeros(1, dtype=torch.float64), (1 / 3) ** 0.5)
    expected = sum(kl_divergence(Normal(torch.zeros_like(v), v.sqrt()), prior).sum() / 5 for v in (rows.image_variance_BD, rows.text_variance_BD))
    assert variance_prior(rows).item() == pytest.approx(expected.item(), rel=1e-6)


def test_wasserstein_is_the_mean_cost_of_the_best_coupling(rows):
    """Between normals the best coupling maps quantiles to quantiles."""
    quantiles = torch.from_numpy(norm.ppf((torch.arange(20_000).double() + 0.5).numpy() / 20_000))[:, None, None]
    image = rows.image_mean_BD + rows.image_variance_BD.sqrt() * quantiles
    text = rows.text_mean_BD + rows.text_variance_BD.sqrt() * quantiles
    expected = (image - text).square().sum(dim=2).mean()
    assert wasserstein(rows).item() == pytest.approx(expected.item(), rel=1e-3)


def test_wasserstein_is_zero_only_for_equal_gaussians(rows):
    equal = replace(rows, text_mean_BD=rows.image_mean_BD, text_variance_BD=rows.image_variance_BD)
    assert wasserstein(equal).item() == 0
    for name in ("text_mean_BD", "text_variance_BD"):
        for entry in ((0, 0), (4, 2)):
            changed = getattr(equal, name).clone()
            changed[entry] += 0.1
            assert wasserstein(replace(equal, **{name: changed})).item() > 1e-4


def test_likelihood_is_that_of_the_difference(rows):
    difference, spread = rows.image_mean_BD - rows.text_mean_BD, rows.image_variance_BD + rows.text_variance_BD
    log_density = Normal(torch.zeros_like(spread), spread.sqrt()).log_prob(difference).sum(dim=1).mean()
    assert pair_likelihood(rows).item() == pytest.approx(-log_density.item() - 1.5 * math.log(2 * math.pi) + 1.5 * math.log(3))


def test_likelihood_teaches_variances_alone_and_is_best_where_they_sum_to_the_squared_difference(rows):
    squared = (rows.image_mean_BD - rows.text_mean_BD).square()
    best = replace(rows, image_variance_BD=squared / 4, text_variance_BD=squared * 3 / 4)
    leaves = [getattr(best, name).clone().requires_grad_() for name in ("image_mean_BD", "image_variance_BD")]
    pair_likelihood(replace(best, image_mean_BD=leaves[0], image_variance_BD=leaves[1])).backward()
    assert leaves[0].grad is None
    assert leaves[1].grad.abs().max() < 1e-9
    assert pair_likelihood(best) < pair_likelihood(rows)


@pytest.mark.parametrize("loss", [variance_prior, wasserstein, pair_likelihood], ids=lambda loss: loss.__name__)
def test_gradients_of_variances_are_those_of_the_formula(rows, loss):
    def at(image, text):
        return loss(replace(rows, image_variance_BD=image, text_variance_BD=text))

    torch.autograd.gradcheck(at, [rows.image_variance_BD.clone().requires_grad_(), rows.text_variance_BD.clone().requires_grad_()])
