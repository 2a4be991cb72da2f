import numpy as np
import pytest
import torch
from scipy.stats import entropy

from xmr_ray.losses import entropy_sums

LOGITS = np.random.default_rng(0).normal(size=(2, 5, 3)) * 3
WEIGHT = np.array([1.0, 0.0, 1.0, 0.5, 1.0])


@pytest.mark.parametrize("multi_label", [True, False])
def test_is_scipys_entropy_of_each_head(multi_label):
    expected = 0.0
    for head in LOGITS:
        for b in range(5):
            p = 1 / (1 + np.exp(-head[b]))
            per_row = entropy(np.stack([p, 1 - p])).sum() if multi_label else entropy(np.exp(head[b]))
            expected += WEIGHT[b] * per_row
    total, mass = entropy_sums(tuple(torch.from_numpy(LOGITS)), torch.from_numpy(WEIGHT), multi_label=multi_label)
    assert total.item() == pytest.approx(expected, abs=1e-10)
    assert mass.item() == 3.5


@pytest.mark.parametrize("multi_label", [True, False])
def test_gradient_stays_finite_where_predictions_are_sure(multi_label):
    logits = torch.tensor([[300.0, -300.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    total, _ = entropy_sums((logits,), torch.ones(2), multi_label=multi_label)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("multi_label", [True, False])
def test_parts_of_a_batch_add_up(multi_label):
    heads, weight = torch.from_numpy(LOGITS), torch.from_numpy(WEIGHT)
    whole = entropy_sums(tuple(heads), weight, multi_label=multi_label)
    parts = [entropy_sums(tuple(heads[:, at]), weight[at], multi_label=multi_label) for at in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(parts[0].total + parts[1].total, whole.total)
    torch.testing.assert_close(parts[0].mass + parts[1].mass, whole.mass)
