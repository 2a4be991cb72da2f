import numpy as np
import pytest
import torch

from xmr_ray.losses import center_sums


def example():
    rng = np.random.default_rng(0)
    labels = np.array([[1.0, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    return rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 3, 4)), labels, np.array([1.0, 1.0, 1.0, 0.0, 0.5])


def test_is_half_the_squared_distance_to_the_centres_of_a_rows_labels():
    hidden, centres, labels, weight = example()
    total, mass = 0.0, 0.0
    for b in range(5):
        own = np.flatnonzero(labels[b])
        if len(own) == 0:
            continue
        mass += weight[b]
        for branch in range(2):
            total += weight[b] * np.mean([np.sum((hidden[branch, b] - centres[branch, c]) ** 2) / 2 for c in own])
    found = center_sums(*(torch.from_numpy(part) for part in (hidden, centres, labels, weight)))
    assert found.total.item() == pytest.approx(total, abs=1e-12)
    assert found.mass.item() == pytest.approx(mass, abs=1e-12)


def test_centres_go_to_the_mean_of_their_rows():
    """With one label a row the minimum over centres is the mean of each class."""
    hidden, _, _, _ = example()
    hidden, classes = torch.from_numpy(hidden), torch.tensor([0, 0, 1, 1, 1])
    centres = torch.stack([hidden[:, classes == c].mean(dim=1) for c in range(2)], dim=1).requires_grad_()
    center_sums(hidden, centres, torch.eye(2, dtype=torch.float64)[classes], torch.ones(5, dtype=torch.float64)).total.backward()
    torch.testing.assert_close(centres.grad, torch.zeros_like(centres), atol=1e-12, rtol=0)


def test_parts_of_a_batch_add_up():
    hidden, centres, labels, weight = (torch.from_numpy(part) for part in example())
    whole = center_sums(hidden, centres, labels, weight)
    parts = [center_sums(hidden[:, at], centres, labels[at], weight[at]) for at in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(parts[0].total + parts[1].total, whole.total)
    torch.testing.assert_close(parts[0].mass + parts[1].mass, whole.mass)
