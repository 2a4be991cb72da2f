"""Random numbers from (seed, round, purpose, ...): torch's global state is put back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xmr_ray.geometry.hashing import derive_key

_SEED_BITS = 63


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator that depends on nothing but `parts`.

    >>> torch.equal(torch.rand(2, generator=generator(0, "order")), torch.rand(2, generator=generator(0, "order")))
    True
    """
    return torch.Generator().manual_seed(derive_key(*parts) % 2**_SEED_BITS)


@contextmanager
def seeded(device: torch.device, *parts: int | str) -> Iterator[None]:
    """Inside, initialisation and dropout draw from `parts`; afterwards torch's random state is what it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_key(*parts) % 2**_SEED_BITS)
        yield
