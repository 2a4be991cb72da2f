"""One process at a time works on a run; a dead one's run is taken over."""

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
def exclusive(run_path: str) -> Iterator[None]:
    """Hold the run's lock; the kernel releases it when the process ends, however it ends.

    Raises:
        RunError: another process works on this run (its host and process id are named), or the storage cannot lock.
    """
    if not storage.is_local(run_path):
        raise RunError(f"{run_path}: runs need a local or shared (NFS) path; object stores have no lock yet")
    folder = Path(storage.resolve(run_path)[1])
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise RunError(
                f"{run_path}: another process works on this run ({file.read().strip() or 'unknown owner'}); wait for it or end it"
            ) from error
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        yield
