from dataclasses import replace

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.errors import LedgerError, RunError
from xmr_ray.labels.annotators import Answers
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.state import LoopState
from xmr_ray.loop.steps import acquire, learn, next_purchase
from xmr_ray.types import EMPTY_LABELS


class Wrong:
    def request(self, selection, *, folder):
        self.asked = selection.pair_ids_n

    def collect(self):
        return Answers(EMPTY_LABELS, np.sort(self.asked)[1:])


def test_answers_to_another_question_are_refused_before_anything_is_paid(make_run):
    run = make_run(annotator=Wrong())
    with pytest.raises(LedgerError, match="20 pairs were asked for, but the annotator answered 19 other ones"):
        acquire(run, LoopState())
    assert not storage.exists(run.directory.round(0).receipt)


def test_who_has_lost_the_run_writes_no_receipt(make_run):
    def lost():
        raise RunError("the lease of this run is lost")

    run = replace(make_run(), held=lost)
    with pytest.raises(RunError, match="lost"):
        acquire(run, LoopState())
    assert not storage.exists(run.directory.round(0).receipt)
    assert acquire(replace(run, held=dict), LoopState()).ledger.sizes == (run.purchases[0],)


def test_learn_reports_what_was_bought_and_drops_the_bulk_of_older_rounds(make_run):
    run = make_run()
    state = learn(run, acquire(run, LoopState()))
    report = state.history[0]
    assert (report["round"], report["num_bought"], report["arm"], report["seed"], report["space"]) == (0, 20, "entropy", 4, "prob")
    assert report["training"] == {"num_labels": 20}
    assert report["retrieval"]["prob"]["map_mean"] == report["retrieval"]["prob"]["i2t"]["map_all"]
    state = acquire(run, state)
    assert storage.exists(run.directory.round(0).folder("scores"))
    learn(run, state)
    assert not storage.exists(run.directory.round(0).folder("scores"))
    assert storage.exists(run.directory.round(0).receipt)


def test_networks_that_were_trained_are_not_trained_again(make_run):
    run = make_run()
    state = acquire(run, LoopState())
    run.engine.train(run.directory.round(0), bought=state.ledger.labels, seed=4)
    learn(run, state)
    assert run.engine.calls.count("train 0") == 1
    run_rounds(make_run())


@pytest.mark.parametrize(
    ("before", "after", "sizes"),
    [
        ((20, 30, 30), (20, 10, 10, 10, 10, 10, 10), (20, 30, 10, 10, 10)),
        ((10, 10, 10, 10, 10), (10, 40), (10, 10, 30)),
        ((20, 20), (20, 5), (20, 20)),
    ],
)
def test_under_a_changed_budget_no_more_is_bought_than_it_allows(make_run, before, after, sizes):
    first = make_run(purchases=before)
    state = acquire(first, learn(first, acquire(first, LoopState())))
    learn(first, state)
    state = run_rounds(make_run(purchases=after))
    assert state.ledger.sizes == sizes
    assert next_purchase(make_run(purchases=after), state) == 0
