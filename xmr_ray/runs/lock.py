"""One process at a time works on a run or writes a corpus; what a dead one left is taken over."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xmr_ray import storage
from xmr_ray.errors import RunError


@contextmanager
def exclusive(path: str) -> Iterator[None]:
    """Hold the lock of a folder; the kernel releases it when the process ends, however it ends.

    Raises:
        RunError: another process works there (its host and process id are named), or the storage cannot lock.
    """
    if not storage.is_local(path):
        raise RunError(f"{path}: runs need a local or shared (NFS) path; object stores have no lock yet")
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
        yield
