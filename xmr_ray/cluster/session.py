"""The Ray session: found or started in one place, and always shut down by whoever started it."""

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
import ray.data

from xmr_ray.config import Resources
from xmr_ray.errors import ResourceError

log = logging.getLogger(__name__)
_REACHABLE_S = 10.0


@dataclass(frozen=True)
class Session:
    """A running Ray: whether it is our own, and what it has."""

    own: bool
    cpus: float
    gpus: float
    node_ids: tuple[str, ...]


@contextmanager
def open_session(resources: Resources) -> Iterator[Session]:
    """Connect to the configuration's address, else to `RAY_ADDRESS`, else start a session of our own on loopback.

    A session that somebody else opened in this process is used and left open. What was started here is shut down on the way
    out, also on an error or Ctrl-C.

    Raises:
        ResourceError: there is no Ray at the address.
    """
    if ray.is_initialized():
        yield _describe(resources, own=True)
        return
    address = resources.address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        _check_reachable(address)
        _start(address, resources)
        session = _describe(resources, own=address == "local")
        log.info("step=session address=%s cpus=%g gpus=%g nodes=%s", address, session.cpus, session.gpus, ",".join(session.node_ids))
        yield session
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes; an address of the form host:port that refuses is told at once."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHABLE_S).close()
    except OSError as error:
        raise ResourceError(f"no Ray at address {address!r} ({error}); start one, or unset resources.address and RAY_ADDRESS") from error


@contextmanager
def kept_signals() -> Iterator[None]:
    """Put back what answers SIGINT and SIGTERM: Ray sets handlers of its own, which end a driver with other exit codes than ours.

    `ray.init` exits with 15 on SIGTERM; `TorchTrainer.fit` leaves a handler of Ctrl-C behind that exits with 0 (ray 2.60). Where nothing
    answered a signal Ray's handler stays: without it the driver would end without ending what it started.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not signal.SIG_DFL:
                signal.signal(number, handler)


def _start(address: str, resources: Resources) -> None:
    with kept_signals(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Ray tells of a default of its own accelerators that concerns no caller
        try:
            if address != "local":
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
                return
            ray.init(
                address="local",
                num_cpus=resources.num_cpus or os.cpu_count(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=resources.object_store_mb * 1_000_000,
            )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ResourceError(f"no Ray at address {address!r} ({error}); start one, or unset resources.address and RAY_ADDRESS") from error


def _describe(resources: Resources, *, own: bool) -> Session:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    context.execution_no_progress_timeout_s = resources.no_progress_timeout_s
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    total = ray.cluster_resources()
    nodes = tuple(sorted(node["NodeID"] for node in ray.nodes() if node["Alive"]))
    return Session(own=own, cpus=total.get("CPU", 0.0), gpus=total.get("GPU", 0.0), node_ids=nodes)
