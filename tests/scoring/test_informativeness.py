import numpy as np
import pytest
import torch

from xmr_ray.networks import ResidualHeads
from xmr_ray.scoring.informativeness import score_gaussians


@pytest.fixture(params=["match", "disagreement"])
def heads(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        heads = ResidualHeads(inter=request.param).build(6).eval()
        for side in (heads.image, heads.text):
            torch.nn.init.normal_(side.log_variance.weight, std=0.1)
            torch.nn.init.normal_(side.residual.weight, std=0.1)
    return heads


def test_parts_are_those_of_the_fused_gaussian_in_a_slow_loop(heads):
    image, text = torch.nn.functional.normalize(torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0)), dim=2)
    found = score_gaussians(heads, image, text)
    for i in range(9):
        mean_v, variance_v, mean_t, variance_t = (part[0].detach().double().numpy() for part in heads(image[i : i + 1], text[i : i + 1]))
        assert found.intra_B[i] == pytest.approx(np.log((variance_v.sum() + variance_t.sum()) / 2), abs=1e-5)
        assert found.image_share_B[i] == pytest.approx(variance_v.sum() / (variance_v.sum() + variance_t.sum()), abs=1e-6)
        np.testing.assert_allclose(found.fused_mean_BD[i], (mean_v + mean_t) / 2, atol=1e-6)
        if heads.config.inter == "disagreement":
            assert found.inter_B[i] == pytest.approx(np.square(mean_v - mean_t).sum() / 4, abs=1e-5)
        else:
            pair = heads(image[i : i + 1], text[i : i + 1])
            assert found.inter_B[i] == pytest.approx(1 - heads.match_probability(pair).item(), abs=1e-6)


@pytest.mark.parametrize("inter", ["match", "disagreement"])
def test_inter_is_higher_for_texts_of_other_images(inter):
    heads, image = ResidualHeads(inter=inter).build(6).eval(), torch.eye(6)
    same, other = score_gaussians(heads, image, image), score_gaussians(heads, image, image.roll(1, dims=0))
    assert (other.inter_B > same.inter_B).all()
