"""How a verb ends: with the exit code of its error; on SIGTERM as on an error, with the session closed, the lock let go and the state on disk.

Every file is whole or not there and a receipt is written at once, so every moment is safe to stop at. Where a callback swallows the request it is
repeated at the next step of the loop. A second SIGTERM ends the process where it stands.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from xmr_ray.errors import AnnotatorError, ConfigError, CorpusError, LedgerError, ResourceError, RunError, StorageError, TrainingError, XmrError

TERMINATED = 128 + signal.SIGTERM
EXIT_CODES: tuple[tuple[type[XmrError], int], ...] = (
    (ConfigError, 2),
    (CorpusError, 3),
    (RunError, 4),
    (LedgerError, 4),
    (TrainingError, 4),
    (ResourceError, 5),
    (StorageError, 6),
    (AnnotatorError, 8),
    (XmrError, 1),
)


class Stopper:
    """A handler of SIGTERM that remembers whether it was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Raise `SystemExit` with 143; the second time end at once."""
        if self.asked:
            os._exit(TERMINATED)
        self.asked = True
        raise SystemExit(TERMINATED)

    def check(self) -> None:
        """Raise `SystemExit` with 143 if SIGTERM has come and something has swallowed it."""
        if self.asked:
            raise SystemExit(TERMINATED)


@contextmanager
def exit_codes(stopper: Stopper) -> Iterator[None]:
    """Turn an error of ours into its message and documented code, and whatever SIGTERM led to into 143."""
    try:
        yield
    except BaseException as error:
        if _terminated(error, stopper):
            Console(stderr=True, soft_wrap=True).print("terminated: what was bought and finished is on disk; the same command goes on from there")
            sys.exit(TERMINATED)
        if not isinstance(error, XmrError):
            raise
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", markup=False, highlight=False)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))


def _terminated(error: BaseException, stopper: Stopper) -> bool:
    """Whether SIGTERM is behind an error: inside a call Ray exits with 1 for it, while Ray starts with the number of the signal."""
    code = error.code if isinstance(error, SystemExit) else None
    return code == signal.SIGTERM or (stopper.asked and code != 0)
