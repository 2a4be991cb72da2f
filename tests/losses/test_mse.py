import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss

from xmr_ray.losses import LabelRows, Mse


@pytest.mark.parametrize("multi_label", [True, False])
def test_is_the_sum_over_entries_written_as_a_loop(multi_label):
    rng = np.random.default_rng(0)
    heads, (targets, trust) = rng.normal(size=(2, 4, 3)) * 2, rng.uniform(size=(2, 4, 3))
    weight = np.array([1.0, 0.0, 0.5, 1.0])
    total, mass = 0.0, 0.0
    for b in range(4):
        for c in range(3):
            for head in heads:
                p = 1 / (1 + np.exp(-head[b, c])) if multi_label else np.exp(head[b, c]) / np.exp(head[b]).sum()
                total += weight[b] * trust[b, c] * (p - targets[b, c]) ** 2
            mass += weight[b] * trust[b, c] / 3
    tensors = [torch.from_numpy(part) for part in (targets, trust, weight)]
    found = Mse().sums(LabelRows(tuple(torch.from_numpy(head) for head in heads), *tensors, multi_label=multi_label))
    assert found.total.item() == pytest.approx(total, abs=1e-12)
    assert found.mass.item() == pytest.approx(mass, abs=1e-12)


def test_one_label_is_the_brier_score():
    logits = torch.randn(20, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = (torch.arange(20) % 3 == 0).double()[:, None]
    total, mass = Mse().sums(LabelRows((logits,), labels, torch.ones_like(labels), torch.ones(20, dtype=torch.float64)))
    assert (total / mass).item() == pytest.approx(brier_score_loss(labels[:, 0].numpy(), logits.sigmoid()[:, 0].numpy()))
