"""Purchases that wait for people: what is open, and how answers that come in later close it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xmr_ray import storage
from xmr_ray.errors import LedgerError
from xmr_ray.labels.annotators import Answers, Pending
from xmr_ray.labels.answers import append_answers, closing, read_answers
from xmr_ray.labels.ledger import LabelLedger
from xmr_ray.labels.questions import Answer
from xmr_ray.loop.state import restore
from xmr_ray.loop.steps import close_purchase
from xmr_ray.runs.directory import RoundDirectory, RunDirectory
from xmr_ray.runs.lock import Held
from xmr_ray.types import Selection


@dataclass(frozen=True)
class OpenPurchase:
    """A round whose labels are asked for and not paid yet, with the answers that have come."""

    place: RoundDirectory
    selection: Selection
    answers: Mapping[int, Answer]

    @property
    def pending(self) -> Pending:
        """How many of the pairs that are asked for have their answer."""
        asked = self.selection.pair_ids_n.tolist()
        return Pending(sum(pair_id in self.answers for pair_id in asked), len(asked))


def open_purchase(directory: RunDirectory, ledger: LabelLedger) -> OpenPurchase | None:
    """The purchase that waits for answers; None if nothing is asked for."""
    place = directory.round(len(ledger.sizes))
    selection = place.read_selection()
    return None if selection is None else OpenPurchase(place, selection, read_answers(place.path))


def known_answers(ledger: LabelLedger, waiting: OpenPurchase | None) -> dict[int, Answer]:
    """Every answer that a run holds, by pair: those that are paid for and those of the purchase that waits."""
    labels = ledger.labels
    rows = zip(labels.pair_ids_L.tolist(), labels.offsets[:-1].tolist(), labels.offsets[1:].tolist(), strict=True)
    paid = {pair_id: Answer(pair_id, tuple(sorted(labels.classes[start:stop].tolist()))) for pair_id, start, stop in rows}
    paid |= {pair_id: Answer(pair_id, None) for pair_id in ledger.cannot_tell_n.tolist()}
    return {**(waiting.answers if waiting else {}), **paid}


def take_answers(directory: RunDirectory, answers: Sequence[Answer], *, source: str, correct: bool = False, held: Held = dict) -> Pending | None:
    """Keep answers to the purchase that waits, and close it if they are all there; with `correct` they count instead of earlier ones.

    Killed in between, nothing is lost: the next call, or the run itself, closes the purchase.

    Returns:
        How far the purchase is, None if it is closed now (or if nothing waits).
    """
    ledger = restore(directory).ledger
    waiting = open_purchase(directory, ledger)
    if waiting is None:
        return None
    if answers:
        append_answers(waiting.place.path, answers, source=source, correct=correct)
    closed = closing(read_answers(waiting.place.path), waiting.selection.pair_ids_n)
    if isinstance(closed, Pending):
        return closed
    close_purchase(waiting.place, ledger, waiting.selection, closed, held=held)
    return None


def take_seed(directory: RunDirectory, answers: Sequence[Answer], *, source: str, held: Held = dict) -> None:
    """Make labels that were bought elsewhere the first purchase, instead of what the seed strategy would choose.

    Raises:
        LedgerError: no answers; or the run has bought labels already, or has answers to other pairs.
    """
    if not answers:
        raise LedgerError(f"{directory.path}: there are no labels to start with")
    ledger, place = restore(directory).ledger, directory.round(0)
    ids_n = np.array(sorted(answer.pair_id for answer in answers), dtype=np.int64)
    others = sorted(set(read_answers(place.path)) - set(ids_n.tolist()))
    if ledger.sizes or others:
        found = f"{ledger.num_bought} labels are bought" if ledger.sizes else f"pair_id {others[0]} is answered"
        raise LedgerError(f"{directory.path}: {found} in this run; labels from elsewhere can only be the first of a run, start one with another name")
    append_answers(place.path, answers, source=source)
    selection = Selection(ids_n, np.zeros(len(ids_n)))
    place.write_selection(selection)
    storage.remove_folder(storage.join(place.path, "to_label"))
    closed = closing(read_answers(place.path), ids_n)
    assert isinstance(closed, Answers), "every pair of the selection was answered a moment ago"
    close_purchase(place, ledger, selection, closed, held=held)
