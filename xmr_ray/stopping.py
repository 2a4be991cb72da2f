"""How SIGTERM ends a verb: as an error would, with the session closed and the lock let go, and with the state on disk.

Every file is whole or not there and a receipt is written at once, so every moment is safe to stop at. Where a callback swallows the request it is
repeated at the next step of the loop. A second SIGTERM ends the process where it stands.
"""

import os
import signal
from types import FrameType

TERMINATED = 128 + signal.SIGTERM


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
