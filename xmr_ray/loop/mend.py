"""What was lost from a run directory and follows from the rest of it is made again."""

import numpy as np

from xmr_ray import storage
from xmr_ray.errors import LedgerError
from xmr_ray.labels.annotators import Pending
from xmr_ray.labels.ledger import LabelLedger, read_receipt, write_receipt
from xmr_ray.loop.state import LoopState
from xmr_ray.loop.steps import Run, labels_for, learn


def reclose_purchases(run: Run) -> int:
    """Ask once more for the pairs of every receipt that is gone, though a later round was bought, and write it again; returns how many.

    Raises:
        LedgerError: what was asked for is gone too, or the annotator does not answer the same pairs at once.
    """
    places = run.directory.rounds()
    bought = [place.index for place in places if storage.exists(place.receipt)]
    gone = [place for place in places if bought and place.index < bought[-1] and place.index not in bought]
    for place in gone:
        selection = place.read_selection()
        if selection is None:
            raise LedgerError(f"{place.receipt}: missing, and {place.selection} too; only a backup has the labels of this round")
        run.annotator.request(selection, folder=place.path)
        answers = run.annotator.collect()
        if isinstance(answers, Pending):
            raise LedgerError(f"{place.receipt}: missing, and {answers.num_answered} of its {answers.num_asked} pairs are answered; restore a backup")
        if not np.array_equal(answers.pair_ids, np.sort(selection.pair_ids_n)):
            raise LedgerError(f"{place.receipt}: missing, and the annotator answered other pairs than those of {place.selection}")
        write_receipt(place.receipt, answers, holder=run.held())
    return len(gone)


def relearn(run: Run, state: LoopState) -> int:
    """Learn again in every round before the last that had labels to learn from and has no report; returns how many."""
    reported = {report["round"] for report in state.history}
    lacking = [index for index in range(len(state.ledger.sizes) - 1) if index not in reported]
    ledger, told = LabelLedger(), 0
    for index in range(max(lacking, default=-1) + 1):
        ledger = ledger.enter(read_receipt(run.directory.round(index).receipt))
        earlier = LoopState(ledger)
        if index in lacking and len(labels_for(run, earlier)[0]):
            learn(run, earlier)
            told += 1
    return told
