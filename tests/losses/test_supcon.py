import numpy as np
import pytest
import torch
from torch.nn import functional

from xmr_ray.losses import SpaceRows, SupCon


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_distinct_labels_without_trust_is_the_symmetric_contrastive_loss():
    rng = torch.Generator().manual_seed(0)
    image, text = functional.normalize(torch.randn(2, 6, 4, generator=rng), dim=2)
    rows = SpaceRows(image, text, torch.eye(6), torch.zeros(6, 6), torch.ones(6), True)
    total, mass = SupCon(temperature=0.5).sums(rows, rows)
    own = torch.arange(6)
    expected = functional.cross_entropy(image @ text.T / 0.5, own) + functional.cross_entropy(text @ image.T / 0.5, own)
    torch.testing.assert_close(total / mass, expected)


def test_positives_weigh_their_similarity_and_trust_as_a_loop():
    rng = np.random.default_rng(1)
    image, text, labels = unit(rng.normal(size=(4, 3))), unit(rng.normal(size=(4, 3))), unit(rng.uniform(size=(4, 2)))
    trust = rng.uniform(size=4)
    expected = 0.0
    for anchors, others in ((image, text), (text, image)):
        for i in range(4):
            scores = anchors[i] @ others.T / 0.2
            log_softmax = scores - np.log(np.exp(scores).sum())
            positives = np.array([labels[i] @ labels[j] * trust[i] * trust[j] for j in range(4)])
            positives[i] += 1
            expected -= (positives * log_softmax).sum() / positives.sum()
    tensors = [torch.from_numpy(part) for part in (image, text, labels, np.repeat(trust[:, None], 2, axis=1), np.ones(4))]
    rows = SpaceRows(*tensors, True)
    total, mass = SupCon().sums(rows, rows)
    assert total.item() == pytest.approx(expected, abs=1e-9)
    assert mass.item() == 4
