"""The loop: acquire, learn, until the budget is spent."""

from collections.abc import Callable

from xmr_ray.loop.state import LoopState, restore
from xmr_ray.loop.steps import Run, acquire, learn, next_purchase


def run_rounds(run: Run, on_round: Callable[[LoopState], None] | None = None) -> LoopState:
    """Go on from wherever the run directory stands, to the end of the budget or to answers that have not come yet.

    `on_round` is called after every finished round, those that an earlier process finished not included.
    """
    state = restore(run.directory)
    if len(state.history) < len(state.ledger.sizes):
        state = _finish(run, state, on_round)
    while next_purchase(run, state):
        state = acquire(run, state)
        if state.pending is not None:
            return state
        state = _finish(run, state, on_round)
    return state


def _finish(run: Run, state: LoopState, on_round: Callable[[LoopState], None] | None) -> LoopState:
    state = learn(run, state)
    if on_round is not None:
        on_round(state)
    return state
