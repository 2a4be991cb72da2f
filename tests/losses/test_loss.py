import pytest
import torch

from xmr_ray.losses import LabelLoss, LabelRows, SpaceLoss, SpaceRows


def test_row_trust_is_the_mean_over_classes_times_the_weight():
    trust = torch.tensor([[1.0, 0.0], [0.5, 0.5], [1.0, 1.0]])
    rows = SpaceRows(torch.zeros(3, 1), torch.zeros(3, 1), torch.zeros(3, 2), trust, torch.tensor([1.0, 1.0, 0.0]), True)
    assert rows.row_trust_B.tolist() == [0.5, 0.5, 0.0]


def test_a_loss_must_bring_its_formula():
    empty = torch.zeros(0, 2)
    rows = SpaceRows(empty, empty, empty, empty, torch.zeros(0), True)
    with pytest.raises(NotImplementedError):
        LabelLoss(kind="none").sums(LabelRows((empty,), empty, empty, torch.zeros(0)))
    with pytest.raises(NotImplementedError):
        SpaceLoss(kind="none").sums(rows, rows)
