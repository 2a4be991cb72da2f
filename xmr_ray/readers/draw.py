"""Splits for datasets that were published without them: drawn by a hash of the pair and a seed."""

from collections.abc import Iterable, Mapping

import numpy as np

from xmr_ray.errors import ReaderError
from xmr_ray.readers.splits import hash_rows
from xmr_ray.types import Split


def draw_splits(keys: Iterable[int], counts: Mapping[Split, int], *, seed: int, where: str) -> dict[int, Split]:
    """Which split every key goes to: `counts` of them to the splits named there, in that order, all others to train.

    The order depends on key and seed alone, so who is drawn does not change much when a few keys come or go.

    Raises:
        ReaderError: nothing would be left to train on.

    >>> sorted(draw_splits(range(5), {"test": 2}, seed=0, where="x").values())
    ['test', 'test', 'train', 'train', 'train']
    """
    given_N = np.array(list(keys), dtype=np.int64)
    ordered: list[int] = given_N[np.argsort(hash_rows(given_N, seed=seed), kind="stable")].tolist()
    wanted = sum(counts.values())
    if wanted and wanted >= len(ordered):
        raise ReaderError(f"{where}: {dict(counts)} drawn from {len(ordered)} leaves nothing to train on; ask for fewer")
    split_of: dict[int, Split] = dict.fromkeys(ordered, "train")
    start = 0
    for split, number in counts.items():
        split_of.update(dict.fromkeys(ordered[start : start + number], split))
        start += number
    return split_of
