import numpy as np
import torch

from xmr_ray.networks.standardise import Standardise


def test_centres_and_scales_and_leaves_constant_dimensions_unscaled():
    layer = Standardise(3)
    layer.set(np.array([1.0, -2.0, 5.0], np.float32), np.array([2.0, 0.5, 0.0], np.float32))
    found = layer(torch.tensor([[3.0, -2.0, 5.0], [1.0, -1.0, 6.0]]))
    assert torch.equal(found, torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0]]))


def test_half_precision_features_become_float32():
    assert Standardise(2)(torch.ones(1, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_statistics_travel_with_the_weights():
    layer, copy = Standardise(1), Standardise(1)
    layer.set(np.array([4.0], np.float32), np.array([2.0], np.float32))
    copy.load_state_dict(layer.state_dict())
    assert copy(torch.tensor([[8.0]])).item() == 2.0
