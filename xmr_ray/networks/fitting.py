"""Forward passes in batches that fit the device's memory."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from xmr_ray.errors import ResourceError

log = logging.getLogger(__name__)
T = TypeVar("T")


class FittingBatches:
    """Where a batch does not fit the device's memory it is halved and everything is tried again; it stays halved.

    For forward passes alone, in which a row does not depend on its neighbours: a smaller batch of training would be another result.
    """

    def __init__(self, size: int, device: torch.device, *, step: str) -> None:
        self._size, self._device, self._step = size, device, step

    def run(self, forward: Callable[[slice], T], num_rows: int) -> list[T]:
        """What `forward` gives for the rows of each batch, in order.

        Raises:
            ResourceError: one single pair does not fit.
        """
        while True:
            try:
                return [forward(slice(start, start + self._size)) for start in range(0, num_rows, self._size)]
            except torch.OutOfMemoryError as error:
                if self._size == 1:
                    message = f"{self._step}: one single pair does not fit the memory of {self._device}"
                    raise ResourceError(f"{message}; take smaller networks, or a device with more memory") from error
            self._size //= 2
            log.warning("step=%s out_of_memory=true batch_size=%d", self._step, self._size)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
