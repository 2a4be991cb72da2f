"""Moments at which a process can be hurt: every sync, rename and link of a file, every removal, every step of the loop.

A moment is counted when it comes. At the one that a fault names the process dies by kill -9 (before, half-way or after), meets a write error,
or waits for its parent. Nothing of the product knows of it: what is replaced lies in `os` and at the border of `xmr_ray.storage`.
"""

import errno
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

from xmr_ray import storage

KILLS = ("kill-before", "kill-half", "kill-after")
NUMBERS = {"no-space": errno.ENOSPC, "no-permission": errno.EACCES}
ERRORS = (*NUMBERS, "short-write")
HOLD = "hold"


@dataclass(frozen=True)
class Fault:
    """What happens at the `at`-th moment of an attempt, from 1; `share` is how much of a half-written file is there."""

    kind: str
    at: int
    share: float = 0.5


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Moments:
    """Counts moments in this process and lets the fault happen; `install` cannot be undone, so a process has one."""

    def __init__(self, fault=None, hold=None):
        self.fault, self.hold, self.count = fault, hold, 0

    def install(self):
        os.fsync = self._around(os.fsync, half=_tear)
        os.replace = self._around(os.replace)
        os.link = self._around(os.link)
        storage.remove_folder = self._around(storage.remove_folder, half=_remove_half, fails=True)
        storage.remove_file = self._around(storage.remove_file, fails=True)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def passed(self, *_):
        """A moment without a write: a step that begins, a question, an answer."""
        if self.fault is None or self.fault.kind not in ERRORS:
            self._around(lambda: None)()

    def _around(self, real, half=None, fails=False):
        def wrapped(*arguments, **options):
            self.count += 1
            fault = self.fault
            if fault is None or self.count != fault.at:
                return real(*arguments, **options)
            if fault.kind == "kill-before":
                die()
            if fault.kind == "kill-half":
                if half is not None:
                    half(arguments[0], fault.share)
                die()
            if number := NUMBERS.get(fault.kind):
                error = OSError(number, os.strerror(number))
                if not fails:
                    raise error
                storage.resolve = _with_a_failing_disk(storage.resolve, error)
            if fault.kind == "short-write":  # the kernel itself cuts every later write of this process off
                resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
            if fault.kind == HOLD:
                self.hold()
            result = real(*arguments, **options)
            if fault.kind == "kill-after":
                die()
            return result

        return wrapped


class _FailingDisk:
    """A file system that removes nothing."""

    def __init__(self, filesystem, error):
        self.get_file_info, self._error = filesystem.get_file_info, error

    def delete_dir(self, _):
        raise self._error

    delete_file = delete_dir


def _with_a_failing_disk(resolve, error):
    """`resolve` whose first answer cannot remove."""
    left = [True]

    def resolved(path):
        filesystem, inner = resolve(path)
        return (_FailingDisk(filesystem, error), inner) if left and left.pop() else (filesystem, inner)

    return resolved


def _tear(handle, share):
    """Cut the file behind a handle, as a power cut between write and sync may."""
    path = str(Path(f"/proc/self/fd/{handle}").readlink())
    if Path(path).is_file():
        os.truncate(path, int(Path(path).stat().st_size * share))


def _remove_half(path, _share):
    """Remove every other file of a folder."""
    files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    for file in files[::2]:
        Path(file).unlink()
