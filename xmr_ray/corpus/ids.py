"""A growing set of `pair_id`s that notices repeats: eight bytes per id, no Python objects."""

import numpy as np

from xmr_ray.types import Ids


class IdSet:
    """Distinct int64 ids in sorted runs, each more than twice as long as the next, so that N ids cost O(N log N) in all.

    >>> ids = IdSet()
    >>> ids.add(np.array([4, 2]))
    >>> ids.add(np.array([7, 2]))
    1
    """

    def __init__(self) -> None:
        self._runs: list[Ids] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, ids_B: Ids) -> int | None:
        """Add ids; the position of the first one that is repeated (nothing is added then), or None."""
        repeated_B = self._repeated(ids_B)
        if repeated_B.any():
            return int(np.flatnonzero(repeated_B)[0])
        if len(ids_B):
            self._runs.append(np.sort(ids_B))
        while len(self._runs) > 1 and len(self._runs[-1]) * 2 >= len(self._runs[-2]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        return None

    def _repeated(self, ids_B: Ids) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        repeated_B = np.ones(len(ids_B), dtype=np.bool_)
        repeated_B[np.unique(ids_B, return_index=True)[1]] = False
        for run in self._runs:
            if len(ids_B) and run[-1] >= ids_B.min() and run[0] <= ids_B.max():
                at = np.minimum(np.searchsorted(run, ids_B), len(run) - 1)
                repeated_B |= run[at] == ids_B
        return repeated_B
