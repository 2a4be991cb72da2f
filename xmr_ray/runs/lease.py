"""A lease: who works on a run or writes a corpus in an object store, where no kernel holds a lock.

It has an owner, a number that only grows, and an expiry. The owner renews it from a thread. A lease that is not renewed any more is taken over
with the next number, by a conditional write: of several who try, one succeeds. An owner who was cut off learns of it at its next renewal, or by
its own clock: `held` then raises, and receipts and manifests are not written. Clocks never decide about a receipt: it is created exclusively,
whoever believes to hold the lease.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from xmr_ray import object_store, storage
from xmr_ray.errors import RunError, StorageError

log = logging.getLogger(__name__)
EXPIRY_S = 60.0
RENEWAL_S = 10.0


@dataclass(frozen=True)
class Term:
    """What a lease says: its owner, how many had it up to now, and until when (seconds since 1970) it holds unless it is renewed."""

    owner: str
    number: int
    expires: float

    def to_json(self) -> bytes:
        """The bytes that lie in the store."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, url: str, data: bytes) -> "Term":
        """A lease read back; raises `RunError` for a file that is none."""
        try:
            content = json.loads(data)
            return cls(str(content["owner"]), int(content["number"]), float(content["expires"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{url}: is no lease ({error}); if nobody works there, remove the file and start again") from error


class Lease:
    """A lease that this process has taken and keeps renewing until `release`."""

    def __init__(self, url: str, term: Term, tag: object_store.Tag, taken_at: float) -> None:
        self._url, self._term, self._tag = url, term, tag
        self._until, self._lost = taken_at + EXPIRY_S, False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="xmr-ray-lease", daemon=True)
        self._thread.start()

    def held(self) -> Mapping[str, str]:
        """Owner and number, for receipts.

        Raises:
            RunError: the lease was taken over, or could not be renewed in time.
        """
        if self._lost or time.monotonic() >= self._until:
            why = "another process has taken it over" if self._lost else f"it could not be renewed for {EXPIRY_S:g} s"
            raise RunError(f"{self._url}: the lease is lost ({why}), nothing more is written; start again to go on")
        return {"owner": self._term.owner, "number": str(self._term.number)}

    def release(self) -> None:
        """Stop renewing and leave the lease to whoever comes next."""
        self._stop.set()
        self._thread.join()
        if not self._lost:
            try:
                object_store.replace(self._url, replace(self._term, expires=0.0).to_json(), self._tag)
            except StorageError as error:  # it runs out by itself, and the reason why we end may be another one
                log.warning("step=lease url=%s not released: %s", self._url, error)

    def _keep_renewing(self) -> None:
        while not self._stop.wait(RENEWAL_S):
            started = time.monotonic()
            try:
                tag = object_store.replace(self._url, replace(self._term, expires=time.time() + EXPIRY_S).to_json(), self._tag)
            except StorageError as error:
                log.warning("step=lease url=%s not renewed, tried again in %g s: %s", self._url, RENEWAL_S, error)
                continue
            if tag is None:
                self._lost = True
                return
            self._tag, self._until = tag, started + EXPIRY_S


@contextmanager
def leased(path: str) -> Iterator[Lease]:
    """Hold the lease of a folder in an object store.

    A lease that has run out is taken over at once; one that has not is watched: it is taken over when nobody renews it for its whole time.

    Raises:
        RunError: its owner renews it (the owner is named).
        StorageError: the store cannot be reached, or has no conditional writes.
    """
    url = storage.join(path, "lease.json")
    lease = _take(url, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")
    try:
        yield lease
    finally:
        lease.release()


def _take(url: str, owner: str) -> Lease:
    watched: bytes | None = None
    since = time.monotonic()
    while True:
        now, found = time.monotonic(), object_store.read(url)
        term = None if found is None else Term.from_json(url, found.data)
        mine = Term(owner, 1 if term is None else term.number + 1, time.time() + EXPIRY_S)
        if found is None or term is None:
            if object_store.create(url, mine.to_json()):
                return _confirmed(url, mine, now)
            continue
        if term.expires <= time.time() or now - since >= EXPIRY_S:
            if object_store.replace(url, mine.to_json(), found.tag) is not None:
                return _confirmed(url, mine, now)
        elif watched is not None and found.data != watched:
            raise RunError(f"{url}: another process works here ({term.owner}, it renews its lease); wait for it or end it")
        if watched is None:
            log.info("step=lease url=%s owner=%s not released, watched for up to %g s", url, term.owner, EXPIRY_S)
            watched = found.data
        time.sleep(min(1.0, RENEWAL_S / 4))


def _confirmed(url: str, mine: Term, taken_at: float) -> Lease:
    """The lease just written; a store that ignores conditions is found out by creating it a second time."""
    found = object_store.read(url)
    if found is None or found.data != mine.to_json():
        raise RunError(f"{url}: another process has begun here at the same moment; wait for it or end it")
    if object_store.create(url, b"{}"):
        raise StorageError(f"{url}: this store overwrites where a conditional write must be refused; runs and corpora can be read here, not written")
    return Lease(url, mine, found.tag, taken_at)
