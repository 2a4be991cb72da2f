import numpy as np
import pytest
import torch

from xmr_ray.networks import NetworkDims
from xmr_ray.types import FeatureStatistics


@pytest.fixture(params=[True, False], ids=["multi", "single"])
def dims(request):
    return NetworkDims(image_dim=6, text_dim=4, num_classes=3, multi_label=request.param)


@pytest.fixture
def features():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(9, 6, generator=rng) * 3 + 1, torch.randn(9, 4, generator=rng)


@pytest.fixture
def statistics():
    rng = np.random.default_rng(0)
    mean_std = (rng.normal(size=6), rng.uniform(0.5, 2, size=6), rng.normal(size=4), rng.uniform(0.5, 2, size=4))
    return FeatureStatistics(*(part.astype(np.float32) for part in mean_std))
