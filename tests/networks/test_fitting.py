import logging

import pytest
import torch

from xmr_ray.errors import ResourceError
from xmr_ray.networks.fitting import FittingBatches


def device_of(most, seen):
    """A forward pass that holds so many rows at once."""

    def forward(rows):
        seen.append(len(range(100)[rows]))
        if seen[-1] > most:
            raise torch.OutOfMemoryError("out of memory")
        return list(range(100)[rows])

    return forward


def test_what_does_not_fit_is_halved_and_stays_halved(caplog):
    seen, batches = [], FittingBatches(64, torch.device("cpu"), step="score")
    with caplog.at_level(logging.WARNING):
        assert [row for part in batches.run(device_of(20, seen), 100) for row in part] == list(range(100))
    assert seen == [64, 32, *[16] * 6, 4]
    assert "step=score out_of_memory=true batch_size=16" in caplog.text
    seen.clear()
    batches.run(device_of(20, seen), 32)
    assert seen == [16, 16]


def test_one_pair_that_does_not_fit_is_an_error():
    with pytest.raises(ResourceError, match="embed: one single pair does not fit the memory of cpu; take smaller networks"):
        FittingBatches(4, torch.device("cpu"), step="embed").run(device_of(0, []), 3)


def test_nothing_is_an_empty_list():
    assert FittingBatches(4, torch.device("cpu"), step="embed").run(device_of(0, []), 0) == []
