"""Several runs of one experiment and one team of people: nobody is asked twice, and every run ends as with the oracle."""

import json
from dataclasses import replace

import numpy as np
import pytest

from xmr_ray import seals, storage
from xmr_ray.labels.annotators import Oracle, Pending
from xmr_ray.labels.answers import append_answers, read_answers
from xmr_ray.labels.files import FilesAnnotator
from xmr_ray.labels.ledger import read_receipt
from xmr_ray.labels.questions import Answer, Question
from xmr_ray.loop import sharing
from xmr_ray.loop.answering import take_answers
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.sharing import Others, Sharing
from xmr_ray.loop.state import restore
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.strategies.entropy import Entropy
from xmr_ray.strategies.margin import Margin
from xmr_ray.strategies.random import Random
from xmr_ray.types import Selection

NAMES = ("a", "b", "c", "d", "e")
ARMS = {"entropy": Entropy(), "random": Random(), "margin": Margin()}
PURCHASES = (20, 15, 15)


class KillError(BaseException):
    """Stands for kill -9: nothing catches it."""


class Team:
    """The people of an experiment, and what `xmr-ray run` does with its arms; whoever is asked for a pair a second time complains."""

    def __init__(self, make_run, folder, truth):
        self.make_run, self.truth, self.answered = make_run, truth, []
        self.directories = {arm: RunDirectory(str(folder / arm)) for arm in ARMS}

    def run_of(self, arm):
        at, found = list(ARMS).index(arm), tuple(self.directories.values())
        people = FilesAnnotator(lambda some: [Question(pair_id) for pair_id in some.pair_ids_n.tolist()], NAMES, True)
        return self.make_run(arm, strategy=ARMS[arm], annotator=Sharing(people, Others(found[:at], found[at + 1 :])), purchases=PURCHASES)

    def go(self):
        return {arm: run_rounds(self.run_of(arm)) for arm in ARMS}

    def tasks(self, arm):
        """What stands on the page of an arm."""
        place = self.directories[arm].rounds()[-1]
        path = storage.join(place.path, "to_label", "tasks.jsonl")
        if storage.exists(place.receipt) or not storage.exists(path):
            return []
        return [json.loads(line)["pair_id"] for line in storage.read_bytes(path).splitlines()]

    def answer(self, arm, *, at_most=None, cannot_tell=()):
        asked = self.tasks(arm)[:at_most]
        assert not set(asked) & set(self.answered), "asked again"
        self.answered += asked
        said = [Answer(one, None if one in cannot_tell else tuple(self.truth.take([one]).classes.tolist())) for one in asked]
        take_answers(self.directories[arm], said, source=f"{arm}.csv")


@pytest.fixture
def team(make_run, tmp_path, truth):
    return Team(make_run, tmp_path, truth)


def results_of(directory):
    return [(place.read_selection().pair_ids_n.tolist(), place.read_report()["retrieval"]) for place in directory.rounds()]


def sources_of(place):
    folder = storage.join(place.path, "answers")
    return {source for name in storage.list_names(folder) for source in storage.read_table(storage.join(folder, name))["source"].to_pylist()}


def test_for_pairs_that_the_first_arm_was_answered_the_others_ask_nobody(team):
    first = team.go()
    assert [state.pending for state in first.values()] == [Pending(0, 20)] * 3
    assert [len(team.tasks(arm)) for arm in ARMS] == [20, 0, 0]
    skipped = team.tasks("entropy")[:3]
    team.answer("entropy", cannot_tell=skipped)
    second = team.go()
    assert [state.ledger.sizes for state in second.values()] == [(20,)] * 3
    paid = [read_receipt(directory.round(0).receipt) for directory in team.directories.values()]
    for one in paid:
        assert one.cannot_tell_n.tolist() == sorted(skipped), "cannot tell is an answer, too"
        np.testing.assert_array_equal(
            one.labels.dense(paid[0].labels.pair_ids_L, num_classes=5), paid[0].labels.dense(paid[0].labels.pair_ids_L, num_classes=5)
        )
    assert [sources_of(directory.round(0)) for directory in team.directories.values()] == [{"entropy.csv"}, {"run entropy"}, {"run entropy"}]
    asked = [set(team.tasks(arm)) for arm in ARMS]
    assert sum(map(len, asked)) == len(set.union(*asked))
    assert not set.union(*asked) & set(team.answered)


@pytest.mark.parametrize("at_most", [None, 4])
@pytest.mark.parametrize("order", [("entropy", "random", "margin"), ("margin", "random", "entropy"), ("random",)])
def test_answered_in_any_order_and_in_parts_every_arm_ends_as_with_the_oracle(team, make_run, truth, order, at_most):
    for turn in range(200):
        states = team.go()
        if not any(state.pending for state in states.values()):
            break
        waiting = [arm for arm in order if team.tasks(arm)] or [arm for arm in ARMS if team.tasks(arm)]
        assert waiting, "somebody is asked as long as anything is waited for"
        team.answer(waiting[turn % len(waiting)], at_most=at_most)
    for arm, strategy in ARMS.items():
        alone = make_run(f"oracle-{arm}", strategy=strategy, annotator=Oracle(truth.take), purchases=PURCHASES)
        run_rounds(alone)
        assert results_of(team.directories[arm]) == results_of(alone.directory)
        for mine, theirs in zip(team.directories[arm].rounds(), alone.directory.rounds(), strict=True):
            paid, known = read_receipt(mine.receipt), read_receipt(theirs.receipt)
            assert paid.pair_ids.tolist() == known.pair_ids.tolist()
            np.testing.assert_array_equal(paid.labels.dense(paid.pair_ids, num_classes=5), known.labels.dense(known.pair_ids, num_classes=5))
            assert set(read_answers(mine.path)) == set(paid.pair_ids.tolist()), "complete without the other runs"
    bought = {pair_id for directory in team.directories.values() for pair_id in restore(directory).ledger.bought_ids.tolist()}
    assert sorted(team.answered) == sorted(bought), "everybody was asked once"
    assert len(bought) < 3 * sum(PURCHASES)


@pytest.mark.parametrize("moment", ["before answers are taken over", "after they were", "before the page", "before the receipt", "after the receipt"])
def test_killed_while_it_takes_over_a_run_ends_as_one_that_was_not(team, make_run, truth, monkeypatch, moment):
    import xmr_ray.loop.steps as steps

    def dying(real, *, late):
        def call(*arguments, **options):
            if late:
                real(*arguments, **options)
            raise KillError

        return call

    places = {
        "before answers are taken over": (sharing, "append_answers", False),
        "after they were": (sharing, "append_answers", True),
        "before the page": (FilesAnnotator, "request", False),
        "before the receipt": (steps, "write_receipt", False),
        "after the receipt": (steps, "write_receipt", True),
    }
    where, name, late = places[moment]
    team.go()
    team.answer("entropy")
    with monkeypatch.context() as patch:
        patch.setattr(where, name, dying(getattr(where, name), late=late))
        with pytest.raises(KillError):
            run_rounds(team.run_of("random"))
    for _ in range(40):
        if not any(state.pending for state in team.go().values()):
            break
        for arm in ARMS:
            team.answer(arm)
            team.go()
    alone = make_run("alone", strategy=ARMS["random"], annotator=Oracle(truth.take), purchases=PURCHASES)
    run_rounds(alone)
    assert results_of(team.directories["random"]) == results_of(alone.directory)
    assert len(storage.list_names(storage.join(team.directories["random"].round(0).path, "answers"))) == 1


def test_a_correction_reaches_every_purchase_that_waits_and_no_receipt(team):
    team.go()
    ids = team.tasks("entropy")
    team.answer("entropy", at_most=5)
    team.go()
    before = {arm: read_answers(directory.round(0).path) for arm, directory in team.directories.items()}
    assert before["random"] == before["entropy"]
    take_answers(team.directories["entropy"], [Answer(ids[0], None)], source="again.csv", correct=True)
    team.go()
    assert read_answers(team.directories["margin"].round(0).path)[ids[0]] == Answer(ids[0], None, revision=1)
    team.answer("entropy")
    run_rounds(team.run_of("random"))
    receipt = storage.read_bytes(team.directories["random"].round(0).receipt)
    assert read_receipt(team.directories["random"].round(0).receipt).cannot_tell_n.tolist() == [ids[0]]
    take_answers(team.directories["margin"], [Answer(ids[0], (2,))], source="late.csv", correct=True)
    team.go()
    assert storage.read_bytes(team.directories["random"].round(0).receipt) == receipt


# ---- what `Others` says of purchases that are made by hand


def purchase(folder, name, index, ids, *, answers=(), closed=False):
    directory = RunDirectory(str(folder / name))
    place = directory.round(index)
    place.write_selection(Selection(np.array(ids), np.zeros(len(ids))))
    if answers:
        append_answers(place.path, answers, source="test")
    if closed:
        storage.write_whole(place.receipt, b"paid")
    return directory


def test_of_two_answers_the_own_one_stays_unless_the_other_is_a_later_revision(tmp_path):
    first = purchase(tmp_path, "first", 0, [1, 2, 3], answers=[Answer(1, (1,)), Answer(2, (1,)), Answer(9, ())], closed=True)
    second = purchase(tmp_path, "second", 2, [1, 4], answers=[Answer(1, (2,)), Answer(4, None)])
    mine = str(tmp_path / "mine" / "rounds" / "000")
    append_answers(mine, [Answer(2, (0,))], source="test")
    others = Others((first,), (second,))
    for _ in range(2):
        kept = others.take_over(mine, [1, 2, 4, 5])
        assert kept == read_answers(mine) == {1: Answer(1, (1,)), 2: Answer(2, (0,)), 4: Answer(4, None)}
    files = len(storage.list_names(storage.join(mine, "answers")))
    for changed in (0, 4, 3):
        append_answers(second.round(2).path, [Answer(1, (changed,)), Answer(4, None)], source="test", correct=True)
    assert others.take_over(mine, [1, 2, 4, 5])[1] == Answer(1, (3,), revision=3)
    append_answers(mine, [Answer(1, (4,))], source="test", correct=True)
    assert others.take_over(mine, [1, 2, 4, 5])[1] == Answer(1, (4,), revision=4), "mine is later still"
    assert len(storage.list_names(storage.join(mine, "answers"))) == files + 2


def test_answers_of_rounds_that_are_paid_are_read_once_those_of_the_newest_always(tmp_path, monkeypatch):
    other = purchase(tmp_path, "other", 0, [1, 2], answers=[Answer(1, (1,)), Answer(2, (1,))], closed=True)
    purchase(tmp_path, "other", 1, [3, 4], answers=[Answer(3, (3,))])
    read = []
    monkeypatch.setattr(sharing, "read_answers", lambda folder: read.append(folder) or read_answers(folder))
    others, mine = Others((other,), ()), [str(tmp_path / f"mine-{k}" / "rounds" / "000") for k in range(3)]
    assert others.take_over(mine[0], [1, 3, 4]).keys() == {1, 3}
    append_answers(other.round(1).path, [Answer(4, ())], source="test")
    assert others.take_over(mine[1], [2, 3, 4]).keys() == {2, 3, 4}
    purchase(tmp_path, "other", 2, [5], answers=[Answer(5, ())])
    assert others.take_over(mine[2], [1, 4, 5]).keys() == {1, 4, 5}, "the second round is an earlier one now, and read once more"
    assert [read.count(other.round(k).path) for k in range(3)] == [1, 3, 1]


def test_whose_turn_came_first_asks_whatever_its_round_and_a_paid_purchase_asks_for_nothing(tmp_path):
    later, sooner = purchase(tmp_path, "later", 0, [1, 2, 9]), purchase(tmp_path, "sooner", 3, [1, 3, 9])
    paid, empty = purchase(tmp_path, "paid", 1, [4], closed=True), RunDirectory(str(tmp_path / "empty"))
    mine = purchase(tmp_path, "mine", 1, [1, 2, 3, 4, 9])
    seen_by = {
        "sooner": Others((later,), (paid, empty, mine)),
        "later": Others((), (sooner, paid, empty, mine)),
        "mine": Others((later, sooner, paid, empty)),
    }
    places = {"sooner": sooner.round(3), "later": later.round(0), "mine": mine.round(1)}
    assert seen_by["mine"].asked(places["mine"], [1, 2, 3, 4]) == set(), "nobody asks yet"
    for name, place in places.items():
        seen_by[name].take_turn(place)
    asked = {name: seen_by[name].asked(place, place.read_selection().pair_ids_n.tolist()) for name, place in places.items()}
    assert asked == {"sooner": set(), "later": {1, 9}, "mine": {1, 2, 3, 9}}
    seen_by["sooner"].take_turn(places["sooner"])
    assert seen_by["mine"].asked(places["mine"], [1, 2, 3, 4]) == {1, 2, 3}, "a turn is taken once"


def test_every_pair_is_asked_for_by_exactly_one_run_also_where_two_took_their_turn_at_once(tmp_path):
    rng = np.random.default_rng(0)
    for trial in range(20):
        rounds = rng.integers(0, 3, size=4)
        runs = [purchase(tmp_path, f"{trial}-{k}", int(index), rng.permutation(12)[:6].tolist()) for k, index in enumerate(rounds)]
        seen = [Others(tuple(runs[:k]), tuple(runs[k + 1 :])) for k in range(4)]
        for run in runs:
            storage.write_whole(run.rounds()[0].turn, seals.seal_json({"turn": int(rng.integers(1, 4))}))
        asked = []
        for run, others in zip(runs, seen, strict=True):
            (place,) = run.rounds()
            ids = place.read_selection().pair_ids_n.tolist()
            asked += sorted(set(ids) - others.asked(place, ids))
        assert sorted(asked) == sorted({pair_id for run in runs for pair_id in run.rounds()[0].read_selection().pair_ids_n.tolist()})


def test_a_run_alone_asks_for_all(make_run, truth, team):
    run = replace(team.run_of("entropy"), annotator=Sharing(team.run_of("entropy").annotator._people, Others()))
    assert run_rounds(run).pending == Pending(0, 20)
    assert len(team.tasks("entropy")) == 20
