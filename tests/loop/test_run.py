from dataclasses import replace

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.errors import LedgerError
from xmr_ray.labels.annotators import Answers, Pending
from xmr_ray.labels.ledger import read_receipt
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.state import LoopState
from xmr_ray.loop.steps import acquire
from xmr_ray.strategies.ascmr import Ascmr
from xmr_ray.strategies.entropy import Entropy
from xmr_ray.strategies.random import Random
from xmr_ray.strategies.typical import Typical
from xmr_ray.types import EMPTY_LABELS

WRITES = ("write_whole", "write_table", "create_exclusive")


class KillError(BaseException):
    """Stands for kill -9: nothing catches it."""


def results_of(run):
    return [
        (place.read_selection().pair_ids_n.tolist(), read_receipt(place.receipt).pair_ids.tolist(), place.read_report()["retrieval"])
        for place in run.directory.rounds()
    ]


def test_the_loop_spends_the_budget_and_never_buys_twice(make_run, ids, truth):
    run = make_run()
    state = run_rounds(run)
    assert state.ledger.sizes == (20, 15, 15, 10)
    assert len(np.unique(state.ledger.bought_ids)) == 60
    assert np.isin(state.ledger.bought_ids, ids).all()
    np.testing.assert_array_equal(
        state.ledger.labels.dense(state.ledger.bought_ids, num_classes=5), truth.dense(state.ledger.bought_ids, num_classes=5)
    )
    assert [report["num_bought"] for report in state.history] == [20, 35, 50, 60]
    expected = ["features 0", "train 0", "evaluate 0"]
    for k in (1, 2, 3):
        expected += [f"score {k - 1}", f"train {k}", f"evaluate {k}"]
    assert run.engine.calls == expected, "each round scores with the round before's networks, once"


def test_a_strategy_that_needs_no_column_runs_no_network_over_the_pool(make_run):
    run = make_run(strategy=Random())
    run_rounds(run)
    assert not [call for call in run.engine.calls if call.startswith("score")]


@pytest.mark.parametrize("variant", ["kl", "penalised"])
def test_a_strategy_over_regions_has_them_fitted_and_its_purchase_described(make_run, variant):
    run = make_run(strategy=Ascmr(variant=variant), purchases=(20, 15))
    state = run_rounds(run)
    assert state.ledger.sizes == (20, 15)
    found = run.engine.calls[run.engine.calls.index("score 0") :]
    neighbours = ["neighbours 0"] if variant == "penalised" else []
    assert found == ["score 0", "cells 0 35", *neighbours, "describe 1 after 0: 15 beside 20", "train 1", "evaluate 1"]


def test_typical_buys_from_features_in_every_round_and_scores_nothing(make_run):
    run = make_run(strategy=Typical(), purchases=(20, 15))
    assert run_rounds(run).ledger.sizes == (20, 15)
    assert [call for call in run.engine.calls if not call.startswith(("train", "evaluate"))] == ["features 0", "features 1"]


def test_who_watches_hears_of_every_step_that_is_begun(make_run):
    heard = []
    run_rounds(replace(make_run(purchases=(20, 15)), on_step=lambda index, step: heard.append((index, step))))
    first = [(0, "select"), (0, "train"), (0, "evaluate")]
    assert heard == [*first, (1, "select"), (1, "score the pool"), (1, "train"), (1, "evaluate")]


def test_a_finished_run_does_nothing_when_started_again(make_run):
    run_rounds(make_run())
    again = make_run()
    state = run_rounds(again)
    assert again.engine.calls == []
    assert len(state.history) == 4


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("strategy", [pytest.param(Entropy(), id="entropy"), pytest.param(Ascmr(), id="ascmr")])
def test_killed_at_any_write_and_started_again_it_ends_as_if_uninterrupted(make_run, monkeypatch, late, strategy):
    whole = make_run("whole", strategy=strategy)
    run_rounds(whole)
    expected = results_of(whole)

    def killed_at(n):
        count = [0]

        def wrap(function):
            def counted(*arguments, **options):
                count[0] += 1
                if count[0] == n and not late:
                    raise KillError
                result = function(*arguments, **options)
                if count[0] == n:
                    raise KillError
                return result

            return counted

        with monkeypatch.context() as patch:
            for name in WRITES:
                patch.setattr(storage, name, wrap(getattr(storage, name)))
            run = make_run(f"killed-{n}", strategy=strategy)
            try:
                run_rounds(run)
            except KillError:
                return True
            return False

    n = 1
    while killed_at(n):
        resumed = make_run(f"killed-{n}", strategy=strategy)
        run_rounds(resumed)
        assert results_of(resumed) == expected
        n += 1
    assert n > 30, "every write of four rounds was a moment to be killed at"


class Slow:
    """An annotator of whom half the answers come only when asked again."""

    def __init__(self, truth):
        self.truth, self.asked, self.requests, self.patience = truth, None, 0, 1

    def request(self, selection, *, folder):
        self.asked = selection.pair_ids_n
        self.requests += 1

    def collect(self):
        if self.patience:
            self.patience -= 1
            return Pending(num_answered=len(self.asked) // 2, num_asked=len(self.asked))
        told, untold = self.asked[1:], self.asked[:1]
        return Answers(self.truth.take(told), np.sort(untold))


def test_pending_answers_stop_the_loop_and_the_same_pairs_are_asked_for_again(make_run, truth):
    annotator = Slow(truth)
    state = run_rounds(make_run(annotator=annotator))
    assert state.pending == Pending(10, 20)
    assert state.ledger.sizes == ()
    first = annotator.asked.tolist()
    state = run_rounds(make_run(annotator=annotator, purchases=(20,)))
    assert annotator.asked.tolist() == first
    assert state.pending is None
    assert state.ledger.num_bought == 20
    assert len(state.ledger.labels) == 19, "a pair of which nobody can tell is paid for and has no labels"


class Unsure:
    """Cannot tell any of the first `num` pairs; the oracle answers the others."""

    def __init__(self, look_up, num):
        self.look_up, self.num, self.seen = look_up, num, set()

    def request(self, selection, *, folder):
        self.asked = selection.pair_ids_n

    def collect(self):
        self.seen |= set(self.asked.tolist())
        if len(self.seen) <= self.num:
            return Answers(EMPTY_LABELS, np.sort(self.asked))
        return Answers(self.look_up(self.asked), np.empty(0, np.int64))


def test_while_nobody_can_tell_a_label_the_next_purchase_is_chosen_as_seed_pairs_are(make_run, truth):
    run = make_run(annotator=Unsure(truth.take, 35))
    state = run_rounds(run)
    assert state.ledger.sizes == (20, 15, 15, 10)
    assert (len(state.ledger.cannot_tell_n), [report["round"] for report in state.history]) == (35, [2, 3])
    expected = ["features 0", "features 1", "features 2", "train 2", "evaluate 2", "score 2", "train 3", "evaluate 3"]
    assert run.engine.calls == expected
    again = make_run(annotator=Unsure(truth.take, 35))
    assert [report["num_bought"] for report in run_rounds(again).history] == [50, 60]
    assert again.engine.calls == [], "started again, nothing is done again"


def test_a_run_that_is_stopped_after_a_purchase_without_labels_goes_on(make_run, truth):
    whole = make_run("whole", annotator=Unsure(truth.take, 20))
    run_rounds(whole)
    run = make_run("stopped", annotator=Unsure(truth.take, 20))
    acquire(run, LoopState())
    run_rounds(run)
    assert [place.read_selection().pair_ids_n.tolist() for place in run.directory.rounds()] == [
        place.read_selection().pair_ids_n.tolist() for place in whole.directory.rounds()
    ]


def test_a_budget_spent_on_pairs_that_nobody_can_tell_is_an_error_that_says_so(make_run, truth):
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"of 60 bought pairs none is left to train on; raise budget\.total"):
            run_rounds(make_run(annotator=Unsure(truth.take, 60)))
