"""One process at a time works on a run or writes a corpus; what a dead one left is taken over."""

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from xmr_ray import storage
from xmr_ray.errors import RunError
from xmr_ray.runs.lease import leased

Held = Callable[[], Mapping[str, str]]


@contextmanager
def exclusive(path: str) -> Iterator[Held]:
    """Hold a folder alone: by a lock of the kernel, which ends with the process however it ends, or in an object store by a lease.

    What is given tells who holds it, as receipts carry it (nothing under a lock), and raises `RunError` once a lease is lost.

    Raises:
        RunError: another process works there; it is named.
        StorageError: an object store that has no conditional writes, or cannot be reached.
    """
    if not storage.is_local(path):
        with leased(path) as lease:
            yield lease.held
        return
    folder = Path(storage.resolve(path)[1])
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise RunError(f"{path}: another process works here ({file.read().strip() or 'unknown owner'}); wait for it or end it") from error
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        yield dict
