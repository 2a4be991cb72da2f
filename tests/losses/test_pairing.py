import pytest
import torch

from xmr_ray.losses import Pairing, SpaceRows


def test_mean_distance_by_hand_whatever_the_trust():
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    text = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
    rows = SpaceRows(image, text, torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(3), True)
    total, mass = Pairing().sums(rows, rows)
    assert (total / mass).item() == pytest.approx((2**0.5 + 0 + 2) / 3, abs=1e-5)


def test_gradient_is_finite_where_both_embeddings_are_equal():
    image = torch.tensor([[1.0, 0.0]], requires_grad=True)
    rows = SpaceRows(image, image.detach(), torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1), True)
    Pairing().sums(rows, rows).total.backward()
    assert torch.isfinite(image.grad).all()
