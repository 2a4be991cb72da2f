"""Answers that people give in parts, across restarts: nothing is asked twice, nothing is lost, and all ends as with an oracle."""

import json

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.errors import LedgerError
from xmr_ray.labels.annotators import Pending
from xmr_ray.labels.answers import read_answers
from xmr_ray.labels.files import FilesAnnotator
from xmr_ray.labels.formats import LabelRow, write_rows
from xmr_ray.labels.ledger import read_receipt
from xmr_ray.labels.parse import Rules, parse_answers
from xmr_ray.labels.questions import Answer, Question
from xmr_ray.loop.answering import known_answers, open_purchase, take_answers, take_seed
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.state import restore

NAMES = ("a", "b", "c", "d", "e")


def results_of(run):
    return [(place.read_selection().pair_ids_n.tolist(), place.read_report()["retrieval"]) for place in run.directory.rounds()]


class KillError(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.fixture
def asked():
    return []


@pytest.fixture
def people(make_run, asked):
    """A run whose labels come from files; every pair that is asked for is noted."""

    def ask(selection):
        asked.append(selection.pair_ids_n.tolist())
        return [Question(pair_id) for pair_id in selection.pair_ids_n.tolist()]

    return lambda name="people", **options: make_run(name, annotator=FilesAnnotator(ask, NAMES, True), **options)


def tick(directory, truth, *, at_most=None, cannot_tell=()):
    """What a person does: reads the open tasks and answers the first of them with a file."""
    waiting = open_purchase(directory, restore(directory).ledger)
    tasks = [json.loads(line) for line in storage.read_bytes(storage.join(waiting.place.path, "to_label", "tasks.jsonl")).splitlines()]
    rows = [
        LabelRow(task["pair_id"], None if task["pair_id"] in cannot_tell else tuple(NAMES[c] for c in truth.take([task["pair_id"]]).classes))
        for task in tasks[:at_most]
    ]
    data = write_rows(rows, form="csv", class_names=NAMES)
    rules = Rules(NAMES, True, truth.pair_ids_L, waiting.selection.pair_ids_n, known_answers(restore(directory).ledger, waiting))
    parsed = parse_answers({"answers.csv": data}, rules)
    assert parsed.problems == ()
    return parsed.answers


def test_answered_from_the_truth_in_parts_it_ends_as_with_the_oracle(make_run, people, asked, truth):
    run_rounds(make_run("oracle"))
    for _ in range(40):
        run = people()
        state = run_rounds(run)
        if state.pending is None:
            break
        take_answers(run.directory, tick(run.directory, truth, at_most=6), source="test")
    assert results_of(run) == results_of(make_run("oracle"))
    for place in run.directory.rounds():
        ids = place.read_selection().pair_ids_n
        assert set(read_answers(place.path)) == set(ids.tolist())
        paid = read_receipt(place.receipt)
        np.testing.assert_array_equal(paid.labels.dense(np.sort(ids), num_classes=5), truth.dense(np.sort(ids), num_classes=5))


def test_what_is_answered_is_never_asked_again_and_cannot_tell_is_an_answer(people, asked, truth):
    run = people(purchases=(20, 10))
    assert run_rounds(run).pending == Pending(0, 20)
    unknown = asked[0][:3]
    assert take_answers(run.directory, tick(run.directory, truth, at_most=8, cannot_tell=unknown), source="test") == Pending(8, 20)
    assert run_rounds(people(purchases=(20, 10))).pending == Pending(8, 20)
    assert asked[1] == asked[0][8:]
    assert take_answers(run.directory, tick(run.directory, truth), source="test") is None
    state = run_rounds(people(purchases=(20, 10)))
    assert state.pending == Pending(0, 10)
    assert state.ledger.cannot_tell_n.tolist() == sorted(unknown)
    assert not set(asked[-1]) & set(asked[0]), "also the pairs of which nobody could tell"


def test_an_answer_may_be_corrected_until_the_purchase_is_closed_and_never_after(people, truth):
    run = people("corrected", purchases=(20, 10))
    run_rounds(run)
    right = tick(run.directory, truth)
    first = right[0]
    wrong = Answer(first.pair_id, None, "ann")
    assert take_answers(run.directory, [wrong, *right[1:6]], source="a") == Pending(6, 20)
    with pytest.raises(LedgerError, match=f"pair_id {first.pair_id} is answered twice"):
        take_answers(run.directory, [first], source="b")
    assert take_answers(run.directory, [first], source="b", correct=True) == Pending(6, 20)
    assert take_answers(run.directory, right[6:], source="c") is None
    paid = read_receipt(run.directory.round(0).receipt)
    assert paid.cannot_tell_n.tolist() == []
    np.testing.assert_array_equal(paid.labels.dense([first.pair_id], num_classes=5), truth.dense([first.pair_id], num_classes=5))
    receipt = storage.read_bytes(run.directory.round(0).receipt)
    assert run_rounds(people("corrected", purchases=(20, 10))).pending == Pending(0, 10)
    take_answers(run.directory, [wrong], source="d", correct=True)
    assert storage.read_bytes(run.directory.round(0).receipt) == receipt


def test_the_last_answer_may_be_a_correction_that_comes_before_the_receipt(people, truth, monkeypatch):
    import xmr_ray.loop.answering as answering

    def killed(*_, **__):
        raise KillError

    run = people("corrected late", purchases=(20, 10))
    run_rounds(run)
    answers = tick(run.directory, truth)
    with monkeypatch.context() as patch:
        patch.setattr(answering, "close_purchase", killed)
        with pytest.raises(KillError):
            take_answers(run.directory, answers, source="a")
    assert take_answers(run.directory, [Answer(answers[0].pair_id, None)], source="b", correct=True) is None
    assert read_receipt(run.directory.round(0).receipt).cannot_tell_n.tolist() == [answers[0].pair_id]


@pytest.mark.parametrize("late", [False, True], ids=["before the receipt", "after the receipt"])
def test_killed_between_import_and_receipt_nothing_is_lost(make_run, people, truth, monkeypatch, late):
    import xmr_ray.loop.steps as steps

    run_rounds(make_run("oracle", purchases=(20, 15)))
    run = people(purchases=(20, 15))
    run_rounds(run)
    answers = tick(run.directory, truth)
    written = steps.write_receipt

    def killed(path, found, **holder):
        if late:
            written(path, found, **holder)
        raise KillError

    with monkeypatch.context() as patch:
        patch.setattr(steps, "write_receipt", killed)
        with pytest.raises(KillError):
            take_answers(run.directory, answers, source="test")
    state = run_rounds(people(purchases=(20, 15)))
    assert state.ledger.sizes == (20,)
    assert state.pending == Pending(0, 15)
    take_answers(run.directory, tick(run.directory, truth), source="test")
    run_rounds(people(purchases=(20, 15)))
    assert results_of(run) == results_of(make_run("oracle"))


def test_labels_from_elsewhere_are_the_first_purchase(people, asked, truth, ids):
    run = people("seeded", purchases=(20, 10))
    elsewhere = [Answer(int(i), tuple(truth.take([i]).classes.tolist())) for i in ids[5:17]]
    take_seed(run.directory, elsewhere, source="instances.json")
    state = run_rounds(run)
    assert state.ledger.sizes == (12,)
    assert state.pending == Pending(0, 10)
    assert not set(asked[0]) & {answer.pair_id for answer in elsewhere}
    with pytest.raises(LedgerError, match="12 labels are bought in this run"):
        take_seed(run.directory, elsewhere, source="again")


def test_labels_from_elsewhere_replace_seed_pairs_that_nobody_has_answered_yet(people, truth, ids):
    run = people("asked", purchases=(20, 10))
    run_rounds(run)
    take_seed(run.directory, [Answer(int(ids[0]), (1,)), Answer(int(ids[1]), None)], source="test")
    assert restore(run.directory).ledger.bought_ids.tolist() == ids[:2].tolist()
    assert not storage.exists(storage.join(run.directory.round(0).path, "to_label"))
    other = people("answered", purchases=(20, 10))
    run_rounds(other)
    take_answers(other.directory, tick(other.directory, truth, at_most=1), source="test")
    answered = set(read_answers(other.directory.round(0).path))
    free = [int(i) for i in ids if int(i) not in answered][:2]
    with pytest.raises(LedgerError, match="is answered in this run"):
        take_seed(other.directory, [Answer(i, (1,)) for i in free], source="test")
    with pytest.raises(LedgerError, match="no labels to start with"):
        take_seed(people("empty").directory, [], source="test")


def test_killed_before_their_receipt_labels_from_elsewhere_are_still_the_first_purchase(people, asked, ids, monkeypatch):
    import xmr_ray.loop.answering as answering

    def killed(*_, **__):
        raise KillError

    elsewhere = [Answer(int(ids[0]), (1,)), Answer(int(ids[1]), None)]
    run = people("seed killed", purchases=(20, 10))
    for step in ("write_selection", "close_purchase"):
        with monkeypatch.context() as patch:
            patch.setattr(*((answering, step) if step == "close_purchase" else (type(run.directory.round(0)), step)), killed)
            with pytest.raises(KillError):
                take_seed(run.directory, elsewhere, source="test")
        assert set(read_answers(run.directory.round(0).path)) == set(ids[:2].tolist())
    state = run_rounds(people("seed killed", purchases=(20, 10)))
    assert (state.ledger.sizes, state.pending) == ((2,), Pending(0, 10))
    assert state.ledger.labels.dense(ids[:1], num_classes=5).tolist() == [[0, 1, 0, 0, 0]]
    assert not set(asked[0]) & set(ids[:2].tolist())


def test_where_nothing_waits_answers_change_nothing(make_run, ids):
    run = make_run()
    run_rounds(run)
    assert take_answers(run.directory, [Answer(int(ids[0]), (1,))], source="test") is None
    assert open_purchase(run.directory, restore(run.directory).ledger) is None


def test_held_out_labels_measure_and_are_never_trained_on(make_run, ids):
    run = make_run(held_out=0.3)
    state = run_rounds(run)
    measured = [json.loads(call.split(" on ")[1]) for call in run.engine.calls if call.startswith("evaluate")]
    assert [report["num_held_out"] for report in state.history] == [len(found) for found in measured]
    for place, found in zip(run.directory.rounds(), measured, strict=True):
        trained_on = json.loads(storage.read_bytes(place.networks).decode().split(" ", 1)[1])
        assert not set(found) & set(trained_on)
        bought = np.concatenate([read_receipt(one.receipt).pair_ids for one in run.directory.rounds()[: place.index + 1]])
        assert sorted([*found, *trained_on]) == sorted(bought.tolist())
    assert set(measured[0]) <= set(measured[1]) <= set(measured[3])
    assert "num_held_out" not in run_rounds(make_run("truth")).history[0]
