"""The loop's state, and how it is read back from a run directory."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xmr_ray import storage
from xmr_ray.errors import RunError
from xmr_ray.labels.annotators import Pending
from xmr_ray.labels.ledger import LabelLedger, read_receipt
from xmr_ray.runs.directory import RoundDirectory, RunDirectory
from xmr_ray.types import TrainedNetworks


@dataclass(frozen=True)
class LoopState:
    """What was bought and what came of it; `pending` is set while an annotator has not answered yet."""

    ledger: LabelLedger = field(default_factory=LabelLedger)
    history: tuple[Mapping[str, Any], ...] = ()
    pending: Pending | None = None


def networks_of(place: RoundDirectory) -> TrainedNetworks | None:
    """The networks of a round, None before they were trained; raises `CheckpointError` if they are damaged."""
    digest = place.networks_digest()
    return None if digest is None else TrainedNetworks(place.networks, digest)


def restore(directory: RunDirectory) -> LoopState:
    """The state after the last closed purchase.

    Raises:
        RunError: a receipt is missing between two others.
    """
    state = LoopState()
    missing: RoundDirectory | None = None
    for place in directory.rounds():
        if not storage.exists(place.receipt):
            missing = missing or place
            continue
        if missing is not None:
            raise RunError(
                f"{missing.receipt}: missing, though round {place.index} was bought after it; restore the file from a backup, or ask for the "
                "same pairs again with `xmr-ray run --restore-receipts` (answers that are kept in the round's folder are not asked for again)"
            )
        state = replace(state, ledger=state.ledger.enter(read_receipt(place.receipt)))
        report = place.read_report()
        if report is not None:
            state = replace(state, history=(*state.history, report))
    return state
