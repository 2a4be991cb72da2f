import pytest
import torch
from torch.nn import functional

from xmr_ray.losses import CrossEntropy, LabelRows


def test_hard_targets_and_full_trust_are_torchs_cross_entropy():
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, 4, generator=rng)
    classes = torch.tensor([0, 3, 1, 1, 2, 0])
    rows = LabelRows((first, second), functional.one_hot(classes, 4).float(), torch.ones(6, 4), torch.ones(6))
    total, mass = CrossEntropy().sums(rows)
    expected = functional.cross_entropy(first, classes) + functional.cross_entropy(second, classes)
    torch.testing.assert_close(total / mass, expected)


def test_soft_targets_weighted_by_trust_by_hand():
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    rows = LabelRows((logits,), torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.5, 0.5], [1.0, 1.0]]), torch.ones(2))
    total, mass = CrossEntropy().sums(rows)
    log_2, second = 0.693147, 0.313262
    assert total.item() == pytest.approx(0.5 * log_2 + second, abs=1e-5)
    assert mass.item() == 1.5
