"""What became of each trial, a small file each: they alone decide what is drawn next, who goes on, and what the table says."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from xmr_ray import storage
from xmr_ray.errors import RunError

Overrides = Mapping[str, Any]


@dataclass(frozen=True)
class TrialRecord:
    """A trial that ended: `finished` its rounds, `stopped` between two of them, or `refused` by the configuration (`why` says so).

    `seconds` are those of the process that ended it; they are no part of any table.
    """

    index: int
    overrides: Overrides
    status: Literal["finished", "stopped", "refused"]
    curve: tuple[tuple[int, float], ...] = ()
    why: str = ""
    seconds: float = 0.0

    @property
    def labels(self) -> int:
        """Labels bought when it ended."""
        return self.curve[-1][0] if self.curve else 0


def digest_of(overrides: Overrides) -> str:
    """Name of the folder of a trial's run: equal trials have the same, so their work is done once.

    >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}), digest_of({})
    (True, 'default')
    """
    if not overrides:
        return "default"
    return hashlib.sha256(json.dumps(overrides, sort_keys=True).encode()).hexdigest()[:12]


def write_record(folder: str, record: TrialRecord) -> None:
    """Write a trial's end, whole or not at all."""
    storage.write_whole(_path(folder, record.index), json.dumps(asdict(record), indent=1).encode())


def read_record(folder: str, index: int) -> TrialRecord | None:
    """A trial that ended, None before it did.

    Raises:
        RunError: the file is damaged.
    """
    path = _path(folder, index)
    if not storage.exists(path):
        return None
    try:
        content = json.loads(storage.read_bytes(path))
        curve = tuple((int(labels), float(height)) for labels, height in content.pop("curve"))
        return TrialRecord(curve=curve, **content)
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path}: not a trial's record ({error}); remove it, the trial then ends again from its run directory") from error


def read_records(folder: str, indices: Sequence[int]) -> list[TrialRecord]:
    """The trials of these numbers that ended, in their order."""
    found = [read_record(folder, index) for index in indices]
    return [record for record in found if record is not None]


def _path(folder: str, index: int) -> str:
    return storage.join(folder, f"{index:03d}.json")
