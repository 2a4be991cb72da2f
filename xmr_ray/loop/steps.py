"""A round is two resumable steps: `acquire` buys labels, `learn` trains and evaluates. A step that is done is not done again."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from xmr_ray import storage
from xmr_ray.errors import LedgerError, RunError
from xmr_ray.labels.annotators import Annotator, Answers, Pending
from xmr_ray.labels.held_out import hold_out
from xmr_ray.labels.ledger import LabelLedger, write_receipt
from xmr_ray.loop.engine import Engine
from xmr_ray.loop.state import LoopState, networks_of
from xmr_ray.runs.directory import RoundDirectory, RunDirectory, read_json
from xmr_ray.runs.lock import Held
from xmr_ray.strategies import AnyStrategy, SeedStrategy
from xmr_ray.strategies.choose import choose_over
from xmr_ray.strategies.strategy import CELL_COLUMNS, DENSITY_COLUMNS, FeatureStrategy
from xmr_ray.types import LabelSet, RetrievalReport, Selection, TrainedNetworks

log = logging.getLogger(__name__)


def _say_nothing(_round: int, _step: str) -> None:
    """What a run tells that nobody watches."""


@dataclass(frozen=True)
class Run:
    """Everything that one run works with; `purchases[k]` labels are bought in round k. `on_step` hears what is begun in which round.

    `held` tells who works on the run, and raises when this process may do so no more.
    `held_out` is the share of bought labels that only measures, None where the test split has its truth.
    """

    directory: RunDirectory
    engine: Engine
    strategy: AnyStrategy
    seed_strategy: SeedStrategy
    annotator: Annotator
    purchases: Sequence[int]
    arm: str
    seed: int
    space: str
    num_validation_labels: int = 0
    keep_rounds: int = 1
    held_out: float | None = None
    on_step: Callable[[int, str], None] = _say_nothing
    held: Held = dict


def acquire(run: Run, state: LoopState) -> LoopState:
    """Choose the next pairs, ask for their labels, and close the purchase with a receipt.

    What was already asked for is asked for again, not chosen again, so an interrupted purchase ends as it began.
    """
    place = run.directory.round(len(state.ledger.sizes))
    selection = place.read_selection()
    if selection is None:
        selection = _select(run, state, place)
        place.write_selection(selection)
    run.annotator.request(selection, folder=place.path)
    answers = run.annotator.collect()
    if isinstance(answers, Pending):
        log.info("step=acquire arm=%s seed=%d round=%d answered=%d asked=%d", run.arm, run.seed, place.index, answers.num_answered, answers.num_asked)
        return replace(state, pending=answers)
    ledger = close_purchase(place, state.ledger, selection, answers, held=run.held)
    log.info("step=acquire arm=%s seed=%d round=%d bought=%d total=%d", run.arm, run.seed, place.index, len(selection), ledger.num_bought)
    return replace(state, ledger=ledger, pending=None)


def close_purchase(place: RoundDirectory, ledger: LabelLedger, selection: Selection, answers: Answers, *, held: Held = dict) -> LabelLedger:
    """Write the receipt of a purchase, once; returns the ledger with it. Raises `LedgerError` for answers to other pairs than were asked for."""
    if not np.array_equal(answers.pair_ids, np.sort(selection.pair_ids_n)):
        raise LedgerError(f"{place.selection}: {len(selection)} pairs were asked for, but the annotator answered {len(answers.pair_ids)} other ones")
    entered = ledger.enter(answers)
    write_receipt(place.receipt, answers, holder=held())
    return entered


def labels_for(run: Run, state: LoopState) -> tuple[LabelSet, LabelSet | None]:
    """The bought labels to train on, and those that only measure (None where the test split has its truth)."""
    if run.held_out is None:
        return state.ledger.labels, None
    return hold_out(state.ledger.labels, share=run.held_out, seed=run.seed)


def learn(run: Run, state: LoopState) -> LoopState:
    """Train both networks on everything bought but what is held out, evaluate them, and finish the round with its report."""
    place = run.directory.round(len(state.ledger.sizes) - 1)
    train_on, held_out = labels_for(run, state)
    seconds: dict[str, float] = {}
    networks = networks_of(place)
    if networks is None:
        started = time.monotonic()
        run.on_step(place.index, "train")
        run.engine.train(place, bought=train_on, seed=run.seed)
        seconds["train"] = round(time.monotonic() - started, 3)
        networks = _require_networks(place)
    started = time.monotonic()
    run.on_step(place.index, "evaluate")
    retrieval = run.engine.evaluate(place, networks, held_out=held_out)
    seconds["evaluate"] = round(time.monotonic() - started, 3)
    report = _report(run, state, place, retrieval) | {"training": read_json(place.training) or {}, "seconds": seconds}
    if held_out is not None:
        report["num_held_out"] = len(held_out)
    place.write_report(report)
    storage.remove_folder(place.checkpoints)
    _forget(run, place.index - run.keep_rounds)
    best = retrieval[run.space]
    log.info(
        "step=learn arm=%s seed=%d round=%d bought=%d map_i2t=%.4f map_t2i=%.4f train_s=%.1f evaluate_s=%.1f",
        *(run.arm, run.seed, place.index, state.ledger.num_bought, best.i2t.map_all, best.t2i.map_all),
        *(seconds.get("train", 0.0), seconds["evaluate"]),
    )
    return replace(state, history=(*state.history, report))


def is_finished(run: Run, state: LoopState) -> bool:
    """Whether the last closed purchase has its report, or there is none."""
    return not state.ledger.sizes or storage.exists(run.directory.round(len(state.ledger.sizes) - 1).report)


def next_purchase(run: Run, state: LoopState) -> int:
    """Labels to buy next, 0 when the budget is spent: the round's share, never more than what is left."""
    share = run.purchases[min(len(state.ledger.sizes), len(run.purchases) - 1)]
    return max(0, min(share, sum(run.purchases) - state.ledger.num_bought))


def _select(run: Run, state: LoopState, place: RoundDirectory) -> Selection:
    n, bought = next_purchase(run, state), state.ledger.bought_ids
    strategy = run.strategy if len(labels_for(run, state)[0]) else run.seed_strategy
    run.on_step(place.index, "select")
    if isinstance(strategy, FeatureStrategy):
        return run.engine.choose_by_features(strategy, bought=bought, n=n, seed=run.seed, round_index=place.index)
    scored = _score(run, state, place, needs=strategy.needs, num_labels=len(bought) + n) if strategy.needs else None
    selection = choose_over(
        lambda function, merge: run.engine.reduce_scores(scored, strategy.needs, function, merge),
        strategy,
        bought=bought,
        n=n,
        seed=run.seed,
        round_index=place.index,
    )
    if scored is not None and CELL_COLUMNS & set(strategy.needs):
        run.on_step(place.index, "describe the purchase")
        run.engine.describe_purchase(scored, place, selection=selection, bought=state.ledger.labels, seed=run.seed)
    return selection


def _score(run: Run, state: LoopState, place: RoundDirectory, *, needs: Sequence[str], num_labels: int) -> RoundDirectory:
    """The round before `place`, with the columns that are needed; networks that are gone are trained again."""
    scored = run.directory.round(place.index - 1)
    if networks_of(scored) is None:
        run.on_step(scored.index, "train")
        run.engine.train(scored, bought=labels_for(run, state)[0], seed=run.seed)
    networks = _require_networks(scored)
    run.on_step(place.index, "score the pool")
    run.engine.score_pool(scored, networks)
    if CELL_COLUMNS & set(needs):
        run.on_step(place.index, "fit cells")
        run.engine.fit_cells(scored, networks, num_labels=num_labels, seed=run.seed)
    if DENSITY_COLUMNS & set(needs):
        run.on_step(place.index, "find neighbours")
        run.engine.find_neighbours(scored, networks, seed=run.seed)
    return scored


def _require_networks(place: RoundDirectory) -> TrainedNetworks:
    networks = networks_of(place)
    if networks is None:
        raise RunError(f"{place.networks}: missing; train round {place.index} first")
    return networks


def _report(run: Run, state: LoopState, place: RoundDirectory, retrieval: Mapping[str, RetrievalReport]) -> dict[str, Any]:
    spaces = {space: _finite(asdict(report) | {"map_mean": report.map_mean}) for space, report in retrieval.items()}
    return {
        "round": place.index,
        "arm": run.arm,
        "seed": run.seed,
        "num_bought": state.ledger.num_bought,
        "num_cannot_tell": len(state.ledger.cannot_tell_n),
        "num_validation_labels": run.num_validation_labels,
        "space": run.space,
        "retrieval": spaces,
    }


def _finite(content: Any) -> Any:
    """NaN, which JSON does not know, as None."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return None if isinstance(content, float) and math.isnan(content) else content


def _forget(run: Run, index: int) -> None:
    """Drop the bulk of rounds up to `index`, also what a killed process left of them."""
    for older in range(index + 1):
        for kind in ("scores", "embeddings", "predictions", "cells", "density", "networks/checkpoints"):
            storage.remove_folder(run.directory.round(older).folder(kind))
