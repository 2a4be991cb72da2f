"""Gear 1 where people answer for two arms: hurt at moments drawn from a seed, restarted until both end, and compared with an uninterrupted run.

    python tests/faults/sharing_faults.py --schedules 100 --seed 0 --progress .faults/sharing.jsonl
    python tests/faults/sharing_faults.py --seed 0 --replay 17

An attempt is `xmr-ray run` over both arms and `xmr-ray label import` in turn. The stand-in for a person reads the pages that lie there, answers
some of what is asked in one of them, keeps a book of it on a disk of its own, and imports a file again when its import died.
"""

import collections
import json
import random
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

from loop_faults import Case, Story, command, met
from loop_process import PURCHASES, STRATEGIES, FileEngine, Ledgered, in_child, outcome_of, results_of
from moments import ERRORS, KILLS, Fault

from xmr_ray import storage
from xmr_ray.labels.answers import read_answers
from xmr_ray.labels.files import FilesAnnotator
from xmr_ray.labels.ledger import read_receipt
from xmr_ray.labels.questions import Answer, Question
from xmr_ray.loop.answering import open_purchase, take_answers
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.sharing import Others, Sharing
from xmr_ray.loop.state import restore
from xmr_ray.loop.steps import Run
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.runs.lock import exclusive
from xmr_ray.strategies.typical import Typical

PAIRS_OF_ARMS = ["+".join(pair) for pair in combinations(sorted(STRATEGIES), 2)]


def answer_to(pair_id):
    """What a person says of a pair, whoever asks and whenever: one class, or that nobody can tell."""
    return Answer(pair_id, None if pair_id % 13 == 0 else (pair_id % 5,))


class Experiment:
    """Two arms in folders of their own, `<folder>/<arm>/run`, and the book of the person who answers for both."""

    def __init__(self, case, folder, moments):
        self.arms, self.moments = case.strategy.split("+"), moments
        self.directories = {arm: RunDirectory(f"{folder}/{arm}/run") for arm in self.arms}
        self.book, self._path = Ledgered(f"{folder}/book.jsonl"), Path(folder, "book.jsonl")
        self._name = case.name

    def run_arms(self):
        """`xmr-ray run`: True if both have ended."""
        return not [arm for arm in self.arms if self._run_one(arm).pending is not None]

    def _run_one(self, arm):
        directory = self.directories[arm]
        with exclusive(directory.path):
            directory.begin(f"strategy: {arm}\n", "f" * 64)
            run = Run(directory, FileEngine(directory), STRATEGIES[arm], Typical(), self._people(arm), PURCHASES, arm, 4, "prob")
            return run_rounds(replace(run, on_step=self.moments.passed))

    def _people(self, arm):
        asking = FilesAnnotator(lambda some: [Question(one) for one in some.pair_ids_n.tolist()], tuple("abcde"), True)
        return Sharing(asking, self._others(arm))

    def _others(self, arm):
        found, at = tuple(self.directories.values()), self.arms.index(arm)
        return Others(found[:at], found[at + 1 :])

    def pages(self):
        """Arm -> its purchase that waits, and what stands on the page of it, as a person sees it now."""
        found = {}
        for arm, directory in self.directories.items():
            place = (directory.rounds() or [None])[-1]
            tasks = place and storage.join(place.path, "to_label", "tasks.jsonl")
            if tasks and storage.exists(tasks) and not storage.exists(place.receipt):
                found[arm] = place.index, [json.loads(line)["pair_id"] for line in storage.read_bytes(tasks).splitlines()]
        return found

    def notes(self):
        return [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []

    def unfinished_import(self):
        """The file that was answered last, if its import did not end."""
        notes = [note for note in self.notes() if note[0] in {"answered", "imported"}][-1:]
        return notes[0][1:] if notes and notes[0][0] == "answered" else None

    def look(self, *, fresh):
        """Note what is asked; of pages that a whole run has just left, nothing may be answered already or stand on two of them."""
        pages, notes = self.pages(), self.notes()
        answered = {pair_id for event, _, pair_ids in notes if event == "answered" for pair_id in pair_ids}
        imported = {pair_id for event, _, pair_ids in notes if event == "imported" for pair_id in pair_ids}
        shown = [pair_id for _, pair_ids in pages.values() for pair_id in pair_ids]
        if fresh and (len(shown) > len(set(shown)) or imported & set(shown)):
            raise AssertionError(f"asked again: {sorted(imported & set(shown))}, or twice at once, on {pages}")
        for arm, (index, pair_ids) in pages.items():
            if new := [pair_id for pair_id in pair_ids if pair_id not in answered]:
                self.book.note("asked", f"{arm}-{index}", new)
        self.moments.passed()
        return {arm: (index, [one for one in pair_ids if one not in answered]) for arm, (index, pair_ids) in pages.items()}

    def answer_some(self):
        """A person answers a page, or the beginning of it, and imports the file."""
        rng = random.Random(f"{self._name}/{len(self.notes())}")
        waiting = {arm: page for arm, page in self.look(fresh=True).items() if page[1]}
        if not waiting:
            raise AssertionError("somebody is waited for, but nobody is asked")
        arm = rng.choice(sorted(waiting))
        index, pair_ids = waiting[arm]
        said = pair_ids if rng.random() < 0.5 else pair_ids[: rng.randint(1, len(pair_ids))]
        self.book.note("answered", f"{arm}-{index}", said)
        self.import_file(f"{arm}-{index}", said)

    def import_file(self, where, pair_ids):
        """`xmr-ray label import`, as cluster/labelling.py does it; a file for a purchase that is paid changes nothing."""
        self.moments.passed()
        arm, index = where.split("-")
        directory = self.directories[arm]
        with exclusive(directory.path):
            waiting = open_purchase(directory, restore(directory).ledger)
            if waiting is not None and waiting.place.index == int(index):
                known = self._others(arm).take_over(waiting.place.path, waiting.selection.pair_ids_n.tolist())
                if take_answers(directory, [answer_to(one) for one in pair_ids if one not in known], source="test"):
                    self._people(arm).request(waiting.selection, folder=waiting.place.path)
        self.book.note("imported", where, pair_ids)
        self.moments.passed()


def attempt(case, folder, moments):
    """From wherever both arms and the person stand to the end; whether a dead import or the runs come first is drawn."""
    experiment = Experiment(case, folder, moments)
    experiment.look(fresh=False)
    last = experiment.unfinished_import()
    if last and random.Random(f"{case.name}/{len(experiment.notes())}").random() < 0.5:
        experiment.import_file(*last)
    while not experiment.run_arms():
        if last := experiment.unfinished_import():
            experiment.import_file(*last)
        else:
            experiment.answer_some()


def try_once(case, folder, fault=None):
    def work(moments):
        moments.fault = fault
        moments.install()
        attempt(case, folder, moments)

    return outcome_of(in_child(work, folder), folder)


def results(case, folder):
    """Of each arm, what must be equal: selections, labels, retrieval."""

    def work(_):
        return {arm: results_of(replace(case, strategy=arm), f"{folder}/{arm}") for arm in case.strategy.split("+")}

    outcome = outcome_of(in_child(work, folder), folder)
    assert outcome.kind == "done", outcome.message
    return json.loads(outcome.message)


def case_of(seed, index, length_of):
    """The schedule of a seed and an index: two arms, and one to six faults, most of them kills."""
    rng = random.Random(f"sharing/{seed}/{index}")
    arms = rng.choice(PAIRS_OF_ARMS)
    kinds = [rng.choice(KILLS if rng.random() < 0.8 else ERRORS) for _ in range(rng.randint(1, 6))]
    faults = tuple(Fault(kind, 1 + int(length_of(arms) * rng.random() ** 2), rng.random()) for kind in kinds)
    return Case(f"sharing/{seed}/{index}", arms, True, faults)


def play(case, folder, expected):
    """A whole schedule; its story, with what went wrong."""
    story = Story()
    for fault in case.faults:
        met(try_once(case, folder, fault), fault, folder, story)
    outcome = try_once(case, folder)
    if outcome.kind != "done":
        story.wrong.append(f"not ended: {outcome}")
    else:
        compare(story, results(case, folder), expected, folder, case.strategy.split("+"))
    return story


def compare(story, found, expected, folder, arms):
    """Both arms are as uninterrupted; by the person's book every pair was asked for in one place, answered once, and is in its receipt."""
    if found != expected:
        story.wrong.append(f"arms {[arm for arm in arms if found[arm] != expected[arm]]} differ from the uninterrupted run")
        story.counts["results changed"] += 1
    paid = {}
    for arm in arms:
        for place in RunDirectory(f"{folder}/{arm}/run").rounds():
            paid |= {(f"{arm}-{place.index}", pair_id): answer for pair_id, answer in told(read_receipt(place.receipt)).items()}
            if read_answers(place.path).keys() != {pair_id for where, pair_id in paid if where == f"{arm}-{place.index}"}:
                story.wrong.append(f"{place.path}: its answers are not those of its receipt")
    asked, answered = collections.defaultdict(set), collections.Counter()
    for event, where, pair_ids in map(json.loads, Path(folder, "book.jsonl").read_text().splitlines()):
        for pair_id in pair_ids:
            if event == "asked":
                asked[pair_id].add(where)
            answered[where, pair_id] += event == "answered"
    bought = {pair_id for _, pair_id in paid}
    twice = [one for one in asked if len(asked[one]) > 1] + [one for one, times in answered.items() if times > 1]
    lost = [one for one in answered if one not in paid] + [one for one, answer in paid.items() if answer != answer_to(one[1]).classes]
    story.counts["labels bought twice"] += len(twice)
    story.counts["labels lost"] += len(lost)
    story.counts["labels"] += len(paid)
    story.counts["questions to people"] += len(asked)
    if twice or lost or asked.keys() != bought or len(paid) != len(arms) * sum(PURCHASES):
        story.wrong.append(f"asked twice {twice[:3]}, lost {lost[:3]}, asked {len(asked)} for {len(bought)} pairs, paid {len(paid)}")


def told(receipt):
    """Pair -> classes, None where nobody can tell."""
    labels = receipt.labels
    rows = {int(one): tuple(labels.take([int(one)]).classes.tolist()) for one in labels.pair_ids_L}
    return rows | {int(one): None for one in receipt.cannot_tell_n}


def begin(root, seed):
    """What plays schedule `index` in a folder below `root`."""

    @cache
    def whole(arms):
        folder = f"{root}/whole-{arms}"
        Path(folder).mkdir()
        case = Case(f"whole/{arms}", arms, True, ())
        outcome = try_once(case, folder)
        assert outcome.kind == "done", outcome.message
        return results(case, folder), outcome.moments

    def run(index):
        case = case_of(seed, index, lambda arms: whole(arms)[1])
        folder = f"{root}/{index}"
        Path(folder).mkdir()
        return case, play(case, folder, whole(case.strategy)[0]), folder

    return run


if __name__ == "__main__":
    command(__doc__, begin)
