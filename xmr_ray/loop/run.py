"""The loop: acquire, learn, until the budget is spent."""

import logging
from collections.abc import Callable

from xmr_ray.errors import LedgerError
from xmr_ray.loop.mend import reclose_purchases, relearn
from xmr_ray.loop.state import LoopState, restore
from xmr_ray.loop.steps import Run, acquire, is_finished, labels_for, learn, next_purchase

log = logging.getLogger(__name__)


def run_rounds(run: Run, on_round: Callable[[LoopState], None] | None = None, *, restore_receipts: bool = False) -> LoopState:
    """Go on from wherever the run directory stands, to the end of the budget or to answers that have not come yet.

    `on_round` is called after every finished round, those that an earlier process finished not included. While nobody could tell the labels
    of any pair there is nothing to learn from: such a round ends with its receipt, and the next one is chosen as seed pairs are.
    An earlier round whose report is gone is evaluated again (and trained, if its networks are gone too). With `restore_receipts` the
    pairs of a receipt that is gone are asked for again before anything else.

    Raises:
        LedgerError: the budget is spent, and no pair is labelled.
    """
    if restore_receipts:
        reclose_purchases(run)
    state = restore(run.directory)
    if relearn(run, state):
        state = restore(run.directory)
    if not is_finished(run, state):
        state = _finish(run, state, on_round)
    while next_purchase(run, state):
        state = acquire(run, state)
        if state.pending is not None:
            return state
        state = _finish(run, state, on_round)
    if not state.history:
        raise LedgerError(
            f"{run.directory.path}: the budget is spent, and of {state.ledger.num_bought} bought pairs none is left to train on; "
            "raise budget.total and go on with `xmr-ray run --accept-change`"
        )
    return state


def _finish(run: Run, state: LoopState, on_round: Callable[[LoopState], None] | None) -> LoopState:
    if not len(labels_for(run, state)[0]):
        log.warning(
            "step=learn arm=%s seed=%d round=%d skipped: none of %d bought pairs is left to train on",
            *(run.arm, run.seed, len(state.ledger.sizes) - 1, state.ledger.num_bought),
        )
        return state
    state = learn(run, state)
    if on_round is not None:
        on_round(state)
    return state
