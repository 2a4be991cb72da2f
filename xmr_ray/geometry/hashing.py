"""Hashes of pair ids: how ties break and how bounded samples are drawn, whatever the order or the sharding of the pairs."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import StrategyError
from xmr_ray.types import Ids

Hashes = NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def derive_key(*parts: int | str) -> int:
    """A 64-bit key from a seed, a round, a purpose; the same on every machine.

    >>> derive_key(0, 1, "tie") == derive_key(0, 1, "tie") != derive_key(1, 0, "tie")
    True
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def tie_hash(pair_ids: Ids, *, seed: int, round_index: int, purpose: str = "tie") -> Hashes:
    """One uint64 per pair: the splitmix64 stream of the key, indexed by `pair_id`.

    The map is a bijection of ids, so two pairs never share a hash; it looks at nothing but the arguments, so order and sharding
    do not matter, and low ids are not favoured.

    >>> tie_hash(np.array([3, 1]), seed=0, round_index=2).tolist() == tie_hash(np.array([1, 3]), seed=0, round_index=2).tolist()[::-1]
    True
    """
    state = np.ascontiguousarray(pair_ids, dtype=np.int64).view(np.uint64) * _GOLDEN
    state += np.uint64(derive_key(seed, round_index, purpose))
    state ^= state >> np.uint64(30)
    state *= _FIRST
    state ^= state >> np.uint64(27)
    state *= _SECOND
    state ^= state >> np.uint64(31)
    return state


def unit_hash(pair_ids: Ids, *, seed: int, round_index: int, purpose: str) -> NDArray[np.float64]:
    """The hash as a float64 in [0, 1), uniform over ids."""
    hashes = tie_hash(pair_ids, seed=seed, round_index=round_index, purpose=purpose)
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def hash_sample(pair_ids: Ids, *, size: int, seed: int, round_index: int = 0, purpose: str = "sample") -> Ids:
    """At most `size` ids, those with the lowest hashes, ascending by id.

    Samples merge: the sample of the joined samples of two shards is the sample of both shards together.
    A negative `size` raises `StrategyError`.

    >>> shards = [np.arange(0, 50), np.arange(50, 90)]
    >>> parts = np.concatenate([hash_sample(shard, size=5, seed=1) for shard in shards])
    >>> bool((hash_sample(parts, size=5, seed=1) == hash_sample(np.arange(90), size=5, seed=1)).all())
    True
    """
    if size < 0:
        raise StrategyError(f"hash sample: size is {size}; expected 0 or more")
    ids = np.asarray(pair_ids, dtype=np.int64)
    if size >= len(ids):
        return np.sort(ids)
    hashes = tie_hash(ids, seed=seed, round_index=round_index, purpose=purpose)
    return np.sort(ids[np.argpartition(hashes, size)[:size]])


def hash_fraction(pair_ids: Ids, *, fraction: float, seed: int, round_index: int = 0, purpose: str = "sample") -> NDArray[np.bool_]:
    """Which ids lie in a sample of about `fraction` of all; each id is decided on its own. Outside [0, 1] raises `StrategyError`.

    >>> bool(hash_fraction(np.arange(9), fraction=1.0, seed=0).all())
    True
    """
    if not 0.0 <= fraction <= 1.0:
        raise StrategyError(f"hash sample: fraction is {fraction}; expected a number from 0 to 1")
    return unit_hash(pair_ids, seed=seed, round_index=round_index, purpose=purpose) < fraction
