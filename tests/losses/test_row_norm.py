import numpy as np
import pytest
import torch

from xmr_ray.losses import LabelRows, RowNorm


def rows_of(logits, targets, trust):
    return LabelRows((logits,), targets, trust, torch.ones(len(logits), dtype=logits.dtype))


def test_full_trust_is_the_mean_norm_of_rows():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(2, 6, 4))
    found = RowNorm().sums(rows_of(torch.from_numpy(logits), torch.from_numpy(targets), torch.ones(6, 4, dtype=torch.float64)))
    expected = np.mean([np.linalg.norm(z - y) for z, y in zip(logits, targets, strict=True)])
    assert (found.total / found.mass).item() == pytest.approx(expected, abs=1e-9)


def test_trust_by_hand():
    """Rows: full trust, half trust, one masked entry; their differences from the targets are (3, 4)."""
    logits, targets = torch.tensor([[3.0, 5.0]] * 3), torch.tensor([[0.0, 1.0]] * 3)
    trust = torch.tensor([[1.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    total, mass = RowNorm().sums(rows_of(logits, targets, trust))
    assert total.item() == pytest.approx(5 + 2.5 + 3)
    assert mass.item() == pytest.approx(1 + 0.5 + 0.5)


@pytest.mark.parametrize("trust", [0.0, 1.0])
def test_rows_at_their_targets_or_without_trust_are_still(trust):
    logits = torch.ones(2, 3, requires_grad=True)
    targets = torch.full((2, 3), 1.0 if trust else 0.0)
    total, _ = RowNorm().sums(rows_of(logits, targets, torch.full((2, 3), trust)))
    total.backward()
    assert total.item() == 0
    assert logits.grad.abs().sum() == 0
