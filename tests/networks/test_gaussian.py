import math

import pytest
import torch

from xmr_ray.networks import ResidualHeads
from xmr_ray.networks.match import match_probability


def fresh(embedding_dim=12, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidualHeads(**settings).build(embedding_dim).eval()


def stirred(embedding_dim=12, **settings):
    """Heads whose last layers are not zero."""
    heads = fresh(embedding_dim, **settings)
    rng = torch.Generator().manual_seed(1)
    for side in (heads.image, heads.text):
        for layer in (side.residual, side.log_variance):
            layer.weight.data = torch.randn(layer.weight.shape, generator=rng) * 0.05
    return heads


@pytest.fixture
def embeddings():
    return torch.nn.functional.normalize(torch.randn(2, 30, 12, generator=torch.Generator().manual_seed(0)), dim=2)


def test_fresh_heads_keep_the_embedding_and_give_all_the_same_variance(embeddings):
    heads = fresh(initial_variance=0.2)
    pair = heads(*embeddings)
    torch.testing.assert_close(pair.image_mean_BD, embeddings[0])
    torch.testing.assert_close(pair.text_mean_BD, embeddings[1])
    for variance in (pair.image_variance_BD, pair.text_variance_BD):
        torch.testing.assert_close(variance.sum(dim=1), torch.full((30,), 0.2))


def test_means_are_unit_and_variances_stay_in_range(embeddings):
    pair = stirred()(*embeddings)
    for mean in (pair.image_mean_BD, pair.text_mean_BD):
        torch.testing.assert_close(mean.norm(dim=1), torch.ones(30))
    wild = stirred(lowest_variance=0.05, highest_variance=0.3)
    wild.image.log_variance.weight.data *= 1e4
    totals = wild(*embeddings).image_variance_BD * 12
    assert totals.min().item() == pytest.approx(0.05, rel=1e-4)
    assert totals.max().item() == pytest.approx(0.3, rel=1e-4)


@pytest.mark.parametrize("sizes", [[1] * 30, [7, 23], [16, 14]])
def test_rows_do_not_see_each_other(embeddings, sizes):
    heads = stirred()
    whole = [*heads(*embeddings), heads.match_probability(heads(*embeddings))]
    parts = []
    for image, text in zip(*(side.split(sizes) for side in embeddings), strict=True):
        pair = heads(image, text)
        parts.append([*pair, heads.match_probability(pair)])
    for found, wanted in zip(zip(*parts, strict=True), whole, strict=True):
        torch.testing.assert_close(torch.cat(found), wanted, atol=1e-6, rtol=0)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    shuffled = heads(embeddings[0][order], embeddings[1][order])
    torch.testing.assert_close(shuffled.text_variance_BD, whole[3][order], atol=1e-6, rtol=0)


def test_each_modality_has_a_head_of_its_own(embeddings):
    heads = stirred()
    pair, other = heads(*embeddings), heads(embeddings[0], embeddings[1].roll(1, dims=0))
    assert torch.equal(pair.image_variance_BD, other.image_variance_BD)
    assert not torch.equal(pair.text_variance_BD, other.text_variance_BD)
    assert not torch.equal(heads(embeddings[1], embeddings[1]).image_variance_BD, pair.text_variance_BD)


def test_match_probability_uses_slope_and_offset(embeddings):
    heads = stirred()
    with torch.no_grad():
        heads.log_slope.fill_(math.log(3.0))
        heads.offset.fill_(2.5)
        pair = heads(*embeddings)
    torch.testing.assert_close(heads.match_probability(pair), match_probability(pair, slope=3.0, offset=2.5))


@pytest.mark.parametrize(("embedding_dim", "hidden", "expected"), [(12, "auto", 128), (100, "auto", 256), (512, "auto", 256), (12, 40, 40)])
def test_hidden_width(embedding_dim, hidden, expected):
    assert fresh(embedding_dim, hidden=hidden).image.residual.in_features == expected
