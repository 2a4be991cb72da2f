import numpy as np
import pytest
import torch
from scipy.stats import entropy

from xmr_ray.training.open_set import distrust_beyond, entropy_limit, normalised_entropy
from xmr_ray.training.targets import Targets

LOGITS = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 4)) * 2)


@pytest.fixture(params=[True, False], ids=["multi", "single"])
def multi_label(request):
    return request.param


@pytest.fixture
def probabilities(multi_label):
    return LOGITS.sigmoid() if multi_label else LOGITS.softmax(dim=1)


def by_scipy(rows, multi_label):
    if multi_label:
        return np.array([np.mean([entropy([p, 1 - p], base=2) for p in row]) for row in rows.numpy()])
    return np.array([entropy(row, base=len(row)) for row in rows.numpy()])


def test_entropy_is_a_share_of_the_highest(probabilities, multi_label):
    np.testing.assert_allclose(normalised_entropy(probabilities, multi_label=multi_label), by_scipy(probabilities, multi_label), atol=1e-12)
    unknown = torch.full((1, 4), 0.5 if multi_label else 0.25)
    assert normalised_entropy(unknown, multi_label=multi_label).item() == pytest.approx(1)


@pytest.mark.parametrize("quantile", [0.5, 0.95, 1.0])
def test_the_limit_is_numpys_quantile(probabilities, multi_label, quantile):
    expected = np.quantile(by_scipy(probabilities, multi_label), quantile)
    assert entropy_limit(probabilities, quantile, multi_label=multi_label) == pytest.approx(expected, abs=1e-12)


def test_rows_beyond_the_limit_lose_their_trust(probabilities, multi_label):
    limit = entropy_limit(probabilities, 0.9, multi_label=multi_label)
    trust = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    targets, found = distrust_beyond(Targets(probabilities, trust), probabilities, limit, multi_label=multi_label)
    outside = by_scipy(probabilities, multi_label) > limit
    assert outside.sum() == 4
    assert torch.equal(targets, probabilities)
    assert found[outside].abs().sum() == 0
    assert torch.equal(found[~outside], trust[~outside])


def test_one_class_is_no_division_by_zero():
    assert normalised_entropy(torch.ones(2, 1), multi_label=False).tolist() == [0, 0]
