"""Which row of an outside dataset belongs to which split: by a word of its own, or drawn by a hash."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import ReaderError
from xmr_ray.types import SPLITS, Ids, Split

SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "0": "train",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "1": "validation",
    "test": "test",
    "2": "test",
}


def split_numbers(words: Sequence[Any], *, where: str, first_row: int = 0) -> NDArray[np.int8]:
    """Position in `SPLITS` of each word (train; validation, val or dev; test; or 0, 1, 2); `where` and the row are named if it is none.

    >>> split_numbers(["train", "VAL", 2], where="table.csv").tolist()
    [0, 1, 2]
    """
    numbers_B = np.empty(len(words), dtype=np.int8)
    for i, word in enumerate(words):
        split = SPLIT_WORDS.get(str(word).strip().lower())
        if split is None:
            raise ReaderError(f"{where}: row {first_row + i} is in split {word!r}; expected train, validation (val, dev) or test, or 0, 1, 2")
        numbers_B[i] = SPLITS.index(split)
    return numbers_B


def drawn_splits(num_rows: int, *, num_validation: int, num_test: int, seed: int, where: str) -> dict[Split, Ids]:
    """Ascending rows of each split: `num_test` and `num_validation` of them in the order of a hash of (row, seed), the rest train.

    Raises:
        ReaderError: no row is left for train.
    """
    if num_validation + num_test >= num_rows:
        raise ReaderError(f"{where}: num_test={num_test} and num_validation={num_validation} of {num_rows} pairs leave none to train; draw fewer")
    order_N = np.argsort(hash_rows(np.arange(num_rows), seed=seed), kind="stable")
    test, validation, train = np.split(order_N, [num_test, num_test + num_validation])
    return {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}


def draw_split_of(keys: Iterable[int], counts: Mapping[Split, int], *, seed: int, where: str) -> dict[int, Split]:
    """Which split every key goes to: `counts` of them to the splits named there, in that order, all others to train.

    The order depends on key and seed alone, so who is drawn does not change much when a few keys come or go.

    Raises:
        ReaderError: nothing would be left to train on.

    >>> sorted(draw_split_of(range(5), {"test": 2}, seed=0, where="x").values())
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


def hash_rows(rows: Ids, *, seed: int) -> NDArray[np.uint64]:
    """SplitMix64 of row and seed: an order that does not depend on which other rows there are."""
    mixed = rows.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
