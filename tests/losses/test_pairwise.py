import math

import numpy as np
import pytest
import torch

from xmr_ray.losses import Pairwise, SpaceRows
from xmr_ray.losses.pairwise import target_similarity


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("multi_label", [True, False])
def test_is_the_double_loop(multi_label):
    rng = np.random.default_rng(3)
    image, text = unit(rng.normal(size=(5, 4))), unit(rng.normal(size=(5, 4)))
    targets, trust, weight = rng.uniform(size=(5, 3)), rng.uniform(size=(5, 3)), np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    total, mass = 0.0, 0.0
    for i in range(5):
        for j in range(5):
            pair = weight[i] * weight[j] * trust[i].mean() * trust[j].mean()
            similarity = targets[i] @ targets[j]
            if multi_label:
                similarity /= np.linalg.norm(targets[i]) * np.linalg.norm(targets[j])
            for one, other in ((image[i], image[j]), (image[i], text[j]), (text[i], text[j])):
                theta = one @ other / 2
                total += pair * (math.log(1 + math.exp(theta)) - similarity * theta)
            mass += pair
    tensors = [torch.from_numpy(part) for part in (image, text, targets, trust, weight)]
    rows = SpaceRows(*tensors, multi_label)
    found = Pairwise().sums(rows, rows)
    assert found.total.item() == pytest.approx(total, abs=1e-10)
    assert found.mass.item() == pytest.approx(mass, abs=1e-10)


def test_similarity_of_labels_is_graded_where_there_are_several():
    labels = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    rows = SpaceRows(torch.zeros(3, 2), torch.zeros(3, 2), labels, torch.ones(3, 3), torch.ones(3), True)
    half = 2**-0.5
    torch.testing.assert_close(target_similarity(rows, rows), torch.tensor([[1.0, half, 0.0], [half, 1.0, 0.0], [0.0, 0.0, 1.0]]))


def test_rows_without_any_target_are_similar_to_nothing():
    rows = SpaceRows(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2), True)
    assert target_similarity(rows, rows).abs().sum() == 0
