import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from xmr_ray.networks import match
from xmr_ray.networks.match import PairGaussians, distance_moments, fuse_pair, match_probability

SLOPE, OFFSET = 10.0, 8.0


def make_pairs(num_pairs, width, *, seed=0, total=0.1):
    """Pairs from nearly alike to unrelated, total variances spread around `total`."""
    rng = torch.Generator().manual_seed(seed)
    image = torch.nn.functional.normalize(torch.randn(num_pairs, width, generator=rng), dim=1)
    noise = torch.rand(num_pairs, 1, generator=rng) * 1.5 * width**-0.5 * torch.randn(num_pairs, width, generator=rng)
    text = torch.nn.functional.normalize(image + noise, dim=1)
    image_variance, text_variance = total / width * torch.exp(0.5 * torch.randn(2, num_pairs, width, generator=rng))
    return PairGaussians(image, image_variance, text, text_variance)


def draw(pair, generator, *, num_draws):
    """Draws (K, B, D) of both modalities; every second one mirrors the one before at the mean, which leaves the expectation."""
    sides = []
    for mean_BD, variance_BD in (pair[:2], pair[2:]):
        noise = torch.randn(num_draws // 2, *mean_BD.shape, generator=generator, dtype=mean_BD.dtype)
        sides.append(mean_BD + variance_BD.sqrt() * torch.cat([noise, -noise]))
    return sides


def sampled_probability(pair, *, num_draws, seed=1):
    generator, total = torch.Generator().manual_seed(seed), 0.0
    for _ in range(num_draws // 100):
        image, text = draw(pair, generator, num_draws=100)
        total = total + torch.sigmoid(OFFSET - SLOPE * (image - text).square().sum(dim=2)).sum(dim=0)
    return total / num_draws


def test_moments_are_those_of_draws():
    pair = PairGaussians(*(part.double() for part in make_pairs(4, 6, total=0.5)))
    image, text = draw(pair, torch.Generator().manual_seed(0), num_draws=200_000)
    squared = (image - text).square().sum(dim=2)
    mean, variance = distance_moments(pair)
    closed = (pair.image_mean_BD - pair.text_mean_BD).square().sum(dim=1) + pair.image_variance_BD.sum(dim=1) + pair.text_variance_BD.sum(dim=1)
    torch.testing.assert_close(mean, closed)
    torch.testing.assert_close(mean, squared.mean(dim=0), rtol=0.01, atol=0)
    torch.testing.assert_close(variance, squared.var(dim=0), rtol=0.03, atol=0)


def test_moments_equal_a_slow_loop_whatever_the_block(monkeypatch):
    pair = make_pairs(7, 5)
    slow = []
    for i in range(7):
        d2, s = (pair[0][i] - pair[2][i]).square().double(), (pair[1][i] + pair[3][i]).double()
        slow.append([float((d2 + s).sum()), float((2 * s * s + 4 * d2 * s).sum())])
    for block in (1, 11, 10_000):
        monkeypatch.setattr(match, "_BLOCK_VALUES", block)
        found = torch.stack(distance_moments(pair), dim=1).double()
        torch.testing.assert_close(found, torch.tensor(slow, dtype=torch.float64), rtol=1e-5, atol=0)


def test_closed_form_equals_two_thousand_draws():
    pair = make_pairs(200, 256)
    found = match_probability(pair, slope=SLOPE, offset=OFFSET)
    error = (found - sampled_probability(pair, num_draws=2000)).square().mean().sqrt()
    assert error < 1e-3
    assert found.std() > 0.2


def test_one_dimension_of_no_difference_equals_the_integral():
    """The distance is then the absolute value of a normal number, and quadrature has no approximation in it but the number of nodes."""
    pair = PairGaussians(*(torch.tensor([[value]], dtype=torch.float64) for value in (0.3, 0.02, 0.3, 0.03)))
    density = stats.norm(scale=0.05**0.5).pdf
    expected, _ = integrate.quad(lambda x: density(x) / (1 + np.exp(-(1.0 - 2.0 * x * x))), -2, 2)
    assert match_probability(pair, slope=2.0, offset=1.0).item() == pytest.approx(expected, abs=1e-6)


def test_without_variance_it_is_the_sigmoid_of_the_distance():
    pair = make_pairs(20, 8, total=1e-12)
    expected = torch.sigmoid(OFFSET - SLOPE * (pair[0] - pair[2]).square().sum(dim=1))
    torch.testing.assert_close(match_probability(pair, slope=SLOPE, offset=OFFSET), expected, atol=1e-5, rtol=0)


def test_equal_points_without_variance_are_finite():
    pair = PairGaussians(*(torch.full((2, 3), value) for value in (0.5, 0.0, 0.5, 0.0)))
    torch.testing.assert_close(match_probability(pair, slope=3.0, offset=0.0), torch.full((2,), 0.5))


@pytest.mark.parametrize("sizes", [[1] * 40, [7, 33], [40]])
def test_a_pair_does_not_depend_on_its_neighbours(sizes):
    pair = make_pairs(40, 96)
    whole = match_probability(pair, slope=SLOPE, offset=OFFSET)
    parts = zip(*(values.split(sizes) for values in pair), strict=True)
    found = torch.cat([match_probability(PairGaussians(*part), slope=SLOPE, offset=OFFSET) for part in parts])
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=0)


@given(st.integers(0, 1000), st.integers(1, 40), st.floats(1e-3, 100.0), st.floats(-20.0, 20.0))
def test_it_is_a_probability_that_falls_with_the_slope_and_rises_with_the_offset(seed, width, slope, offset):
    pair = make_pairs(5, width, seed=seed)
    found = match_probability(pair, slope=slope, offset=offset)
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()
    assert (match_probability(pair, slope=slope * 1.5, offset=offset) <= found + 1e-6).all()
    assert (match_probability(pair, slope=slope, offset=offset + 1) >= found - 1e-6).all()


def test_fused_gaussian_has_the_moments_of_the_sampled_mixture():
    pair = PairGaussians(*(part.double() for part in make_pairs(3, 5, total=0.4)))
    fused = fuse_pair(pair)
    image, text = draw(pair, torch.Generator().manual_seed(2), num_draws=200_000)
    mixture = torch.cat([image, text])
    torch.testing.assert_close(fused.mean_BD, mixture.mean(dim=0), atol=5e-3, rtol=0)
    torch.testing.assert_close(fused.inside_BD + fused.between_BD, mixture.var(dim=0), rtol=0.02, atol=1e-3)
    assert fused.between_BD.sum() > 0.01
