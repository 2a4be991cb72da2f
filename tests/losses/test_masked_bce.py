import numpy as np
import pytest
import torch

from xmr_ray.losses import LabelRows, MaskedBce


@pytest.mark.parametrize("class_weight", [None, [1.0, 3.0, 7.0]])
def test_is_the_sum_over_entries_written_as_a_loop(class_weight):
    rng = np.random.default_rng(0)
    heads, (targets, trust) = rng.normal(size=(2, 4, 3)) * 2, rng.uniform(size=(2, 4, 3))
    weight = np.array([1.0, 0.0, 0.5, 1.0])
    total, mass = 0.0, 0.0
    for b in range(4):
        for c in range(3):
            for head in heads:
                p = 1 / (1 + np.exp(-head[b, c]))
                positive = 1.0 if class_weight is None else class_weight[c]
                total -= weight[b] * trust[b, c] * (positive * targets[b, c] * np.log(p) + (1 - targets[b, c]) * np.log(1 - p))
            mass += weight[b] * trust[b, c] / 3
    tensors = [torch.from_numpy(part) for part in (targets, trust, weight)]
    weights_C = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float64)
    found = MaskedBce().sums(LabelRows(tuple(torch.from_numpy(head) for head in heads), *tensors, weights_C))
    assert found.total.item() == pytest.approx(total, abs=1e-12)
    assert found.mass.item() == pytest.approx(mass, abs=1e-12)


def test_masked_entries_do_not_count():
    logits = torch.tensor([[0.0, 50.0]])
    sums = MaskedBce().sums(LabelRows((logits,), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.ones(1)))
    assert sums.total.item() == pytest.approx(np.log(2))
    assert sums.mass.item() == 0.5
