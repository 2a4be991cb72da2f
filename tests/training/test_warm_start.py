import numpy as np
import pytest
import torch

from xmr_ray.errors import CheckpointError
from xmr_ray.networks import NetworkDims, TwoBranch
from xmr_ray.training.warm_start import start_from
from xmr_ray.types import FeatureStatistics

DIMS = NetworkDims(image_dim=4, text_dim=3, num_classes=2, multi_label=True)


def statistics(value):
    return FeatureStatistics(*(np.full(width, value, np.float32) for width in (4, 4, 3, 3)))


def test_parameters_come_over_and_buffers_stay():
    previous, network = TwoBranch(hidden=5).build(DIMS), TwoBranch(hidden=5).build(DIMS)
    previous.set_statistics(statistics(2.0))
    previous.temperature_3.fill_(7)
    network.set_statistics(statistics(3.0))
    before = {name: value.clone() for name, value in network.named_buffers()}
    start_from(network, previous)
    learnt = dict(previous.named_parameters())
    for name, value in network.named_parameters():
        assert torch.equal(value, learnt[name])
        assert value is not learnt[name]
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


@pytest.mark.parametrize("other", [TwoBranch(hidden=6).build(DIMS), torch.nn.Linear(2, 2)])
def test_what_does_not_fit_is_refused(other):
    with pytest.raises(CheckpointError, match=r"(?s)do not fit.*training\.warm_start: false"):
        start_from(TwoBranch(hidden=5).build(DIMS), other)
