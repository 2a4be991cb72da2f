from dataclasses import replace
from typing import get_args

import pytest
import torch

from xmr_ray.losses import AnyMatchLoss, ClosedFormMatch, GaussianRows, SampledMatch, match_logits


def make_rows(num_pairs=6, width=4, *, seed=0, total=0.5):
    rng = torch.Generator().manual_seed(seed)
    means = torch.nn.functional.normalize(torch.randn(2, num_pairs, width, generator=rng, dtype=torch.float64), dim=2)
    variances = total / width * torch.exp(torch.randn(2, num_pairs, width, generator=rng, dtype=torch.float64))
    slope, offset = torch.tensor([3.0, 2.0], dtype=torch.float64)
    return GaussianRows(means[0], variances[0], means[1], variances[1], slope, offset)


def value(loss, rows, seed=0):
    return loss.value(rows, torch.Generator().manual_seed(seed))


def test_logits_are_expected_squared_distances_of_draws():
    rows = make_rows(3)
    rng, num_draws = torch.Generator().manual_seed(0), 200_000
    logits = match_logits(rows)
    for i in range(3):
        for j in range(3):
            noise = torch.randn(2, num_draws, 4, generator=rng, dtype=torch.float64)
            image = rows.image_mean_BD[i] + rows.image_variance_BD[i].sqrt() * noise[0]
            text = rows.text_mean_BD[j] + rows.text_variance_BD[j].sqrt() * noise[1]
            assert logits[i, j].item() == pytest.approx(2 - 3 * float((image - text).square().sum(dim=1).mean()), abs=0.03)


def test_closed_form_is_cross_entropy_of_every_image_and_text():
    rows = make_rows()
    probability = torch.sigmoid(match_logits(rows))
    slow = sum(-torch.log(probability[i, j] if i == j else 1 - probability[i, j]) for i in range(6) for j in range(6)) / 6
    assert value(ClosedFormMatch(), rows).item() == pytest.approx(slow.item())


def test_soft_contrastive_loss_equals_a_slow_loop():
    rows, loss = make_rows(3), SampledMatch(num_draws=2)
    rng = torch.Generator().manual_seed(5)
    draws = []
    for mean, variance in ((rows.image_mean_BD, rows.image_variance_BD), (rows.text_mean_BD, rows.text_variance_BD)):
        draws.append(mean[:, None] + variance.sqrt()[:, None] * torch.randn(3, 2, 4, generator=rng, dtype=torch.float64))
    slow = 0.0
    for i in range(3):
        for j in range(3):
            terms = [torch.sigmoid(2 - 3 * (draws[0][i, k] - draws[1][j, m]).square().sum()) for k in range(2) for m in range(2)]
            probability = sum(terms) / 4
            slow = slow - torch.log(probability if i == j else 1 - probability)
    assert value(loss, rows, seed=5).item() == pytest.approx(slow.item() / 3)


def test_without_variance_both_losses_agree():
    rows = make_rows(total=1e-14)
    assert value(SampledMatch(), rows).item() == pytest.approx(value(ClosedFormMatch(), rows).item(), abs=1e-5)


@pytest.mark.parametrize("loss", [kind() for kind in get_args(get_args(AnyMatchLoss)[0])], ids=lambda loss: loss.kind)
def test_gradients_are_those_of_the_formula_and_reach_everything(loss):
    rows = make_rows(4, 3)
    names = list(rows.__dataclass_fields__)
    leaves = [getattr(rows, name).clone().requires_grad_() for name in names]
    torch.autograd.gradcheck(lambda *parts: value(loss, replace(rows, **dict(zip(names, parts, strict=True)))), leaves)
    value(loss, replace(rows, **dict(zip(names, leaves, strict=True)))).backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


@pytest.mark.parametrize("loss", [ClosedFormMatch(), SampledMatch()], ids=lambda loss: loss.kind)
def test_the_right_texts_cost_less_than_others(loss):
    rows = make_rows(8, 16, total=0.01)
    right = replace(rows, text_mean_BD=rows.image_mean_BD)
    wrong = replace(rows, text_mean_BD=rows.image_mean_BD.roll(1, dims=0))
    assert value(loss, right) < value(loss, wrong) - 1
