"""One attempt at a run with the fake engine, in a process of its own that is forked from a warm parent."""

import importlib.util
import json
import os
import resource
import signal
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from moments import HOLD, Moments

from xmr_ray import seals, storage
from xmr_ray.errors import XmrError
from xmr_ray.labels.annotators import Oracle
from xmr_ray.labels.answers import closing, read_answers
from xmr_ray.labels.ledger import read_receipt
from xmr_ray.labels.questions import Answer
from xmr_ray.loop.answering import take_answers
from xmr_ray.loop.run import run_rounds
from xmr_ray.loop.steps import Run
from xmr_ray.runs.directory import RunDirectory, read_json
from xmr_ray.runs.lock import exclusive
from xmr_ray.scoring.outputs import is_current
from xmr_ray.strategies.ascmr import Ascmr
from xmr_ray.strategies.entropy import Entropy
from xmr_ray.strategies.random import Random
from xmr_ray.strategies.typical import Typical
from xmr_ray.types import Descriptor, LabelSet, ScoreBlock

_SPEC = importlib.util.spec_from_file_location("loop_conftest", Path(__file__).parents[1] / "loop" / "conftest.py")
_CONFTEST = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_CONFTEST)

STRATEGIES = {"entropy": Entropy(), "random": Random(), "ascmr": Ascmr(), "typical": Typical()}
PURCHASES = (20, 15, 15, 10)
IDS = np.arange(200, dtype=np.int64) * 7 + 3
TRUTH = LabelSet.of(IDS, [[int(i) % 5] for i in IDS])


class FileEngine(_CONFTEST.FakeEngine):
    """The fake engine with scores in Parquet files that are made only where they are missing, as the real one's, and a choice that matters."""

    def __init__(self, directory):
        super().__init__(IDS, block=67)
        self.directory = directory

    def train(self, place, *, bought, seed):
        workers = self.directory.choice("training.num_workers", 1)
        state = storage.join(place.checkpoints, "state")
        storage.write_whole(state, b"half-way")
        storage.write_whole(place.training, seals.seal_json({"num_labels": len(bought)}))
        place.write_networks(f"{seed} {workers} {bought.pair_ids_L.tolist()} {bought.classes.tolist()}".encode())

    def score_pool(self, place, networks):
        key = int(networks.digest[:8], 16)
        for index, ids in enumerate(self.blocks):
            if not is_current(place.path, "scores", self._descriptor(index), version=networks.digest):
                values = _CONFTEST.unit_hash(ids, seed=key, round_index=0, purpose="fake")
                table = pa.table({"pair_id": pa.array(ids), "value": pa.array(values)}).replace_schema_metadata({"version": networks.digest})
                storage.write_table(self._file(place, index), seals.seal_table(table))

    def _descriptor(self, index):
        return Descriptor(index, "train", "none", 0, len(self.blocks[index]))

    def _file(self, place, index):
        return storage.join(place.folder("scores"), f"{self._descriptor(index).name}.parquet")

    def _block(self, place, index, columns):
        if place is None:
            return ScoreBlock(self.blocks[index])
        table = seals.read_sealed_table(self._file(place, index), ["pair_id", "value"])
        values = table["value"].to_numpy()
        return ScoreBlock(table["pair_id"].to_numpy(), {name: self._column(name, values) for name in columns})


class Ledgered:
    """Writes down, outside the run, what was asked for and what was answered: how the annotator remembers it."""

    def __init__(self, path):
        self._path = path

    def note(self, event, folder, pair_ids):
        line = json.dumps([event, Path(folder).name, [int(one) for one in pair_ids]]) + "\n"
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # the annotator's disk is another one
        with open(self._path, "ab", buffering=0) as file:
            file.write(line.encode())
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class PaidOracle(Oracle):
    def __init__(self, book, moments):
        super().__init__(TRUTH.take)
        self._book, self._moments = book, moments

    def request(self, selection, *, folder):
        self._folder = folder
        self._book.note("asked", folder, selection.pair_ids_n)
        self._moments.passed()
        super().request(selection, folder=folder)

    def collect(self):
        self._book.note("answered", self._folder, self._asked)
        self._moments.passed()
        return super().collect()


class People:
    """Asks for what has no answer yet, as the annotators of people do."""

    def __init__(self, book, moments):
        self._book, self._moments = book, moments

    def request(self, selection, *, folder):
        self._asked, self._folder = selection.pair_ids_n, folder
        known = read_answers(folder)
        self._book.note("asked", folder, [one for one in selection.pair_ids_n.tolist() if one not in known])
        self._moments.passed()

    def collect(self):
        self._moments.passed()
        return closing(read_answers(self._folder), self._asked)


def run_of(case, folder, moments):
    directory, book = RunDirectory(f"{folder}/run"), Ledgered(f"{folder}/book.jsonl")
    annotator = (People if case.people else PaidOracle)(book, moments)
    run = Run(directory, FileEngine(directory), STRATEGIES[case.strategy], Typical(), annotator, PURCHASES, case.strategy, 4, "prob")
    return replace(run, on_step=moments.passed), book


def answer_half(run, book, moments):
    """People hand in answers to half of what is still asked for, at least one."""
    (place,) = run.directory.rounds()[-1:]
    known = read_answers(place.path)
    waiting = [one for one in place.read_selection().pair_ids_n.tolist() if one not in known]
    now = waiting[: -(-len(waiting) // 2)]
    book.note("answered", place.path, now)
    moments.passed()
    take_answers(run.directory, [Answer(one, (one % 5,)) for one in now], source="test")


def attempt(case, folder, moments, *, restore_receipts):
    """From wherever the run stands to its end."""
    run, book = run_of(case, folder, moments)
    with exclusive(run.directory.path):
        run.directory.begin(f"strategy: {case.strategy}\n", "f" * 64)
        while run_rounds(run, restore_receipts=restore_receipts).pending is not None:
            answer_half(run, book, moments)


def results_of(case, folder):
    """What must be equal, and proof that every file is whole; raises `XmrError` naming the first that is not."""
    rounds = []
    for place in RunDirectory(f"{folder}/run").rounds():
        selection, receipt = place.read_selection(), read_receipt(place.receipt)
        read_answers(place.path)
        read_json(place.training)
        place.networks_digest()
        rows = np.split(receipt.labels.classes, receipt.labels.offsets[1:-1])
        told = {"retrieval": place.read_report()["retrieval"], "num_bought": place.read_report()["num_bought"]}
        told["selection"] = None if selection is None else selection.pair_ids_n.tolist()
        told["labels"] = [[pair_id, row.tolist()] for pair_id, row in zip(receipt.labels.pair_ids_L.tolist(), rows, strict=True)]
        rounds.append(told)
    RunDirectory(f"{folder}/run").begin(f"strategy: {case.strategy}\n", "f" * 64)
    if f"strategy: {case.strategy}\n" not in Path(f"{folder}/run/config.yaml").read_text(errors="replace"):
        raise AssertionError("a damaged configuration was believed")
    read_json(f"{folder}/run/choices.json")
    return rounds


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: done, refused (an error of our own), broken (any other error), or killed."""

    kind: str
    message: str = ""
    moments: int = 0


def in_child(work, folder):
    """Run `work(moments)` in a forked process; what it returns or raises, as an outcome whose message may be JSON."""
    told = Path(folder, "outcome.json")
    told.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _work_and_exit(work, told)
    return child


def _work_and_exit(work, told):
    moments = Moments()
    try:
        message = work(moments)
        content = ["done", json.dumps(message), moments.count]
    except XmrError as error:
        content = ["refused", f"{type(error).__name__}: {error}", moments.count]
    except BaseException:
        content = ["broken", traceback.format_exc(), moments.count]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    told.write_text(json.dumps(content))
    os._exit(0)


def outcome_of(child, folder):
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        return Outcome("killed")
    told = Path(folder, "outcome.json")
    return Outcome(*json.loads(told.read_text())) if code == 0 and told.exists() else Outcome("broken", f"ended with {code}")


def try_once(case, folder, fault=None, *, restore_receipts=False, hold=None):
    """One attempt in a process of its own; with `hold` it stops at the fault's moment until its parent lets it go on."""

    def work(moments):
        moments.fault, moments.hold = fault, hold
        moments.install()
        attempt(case, folder, moments, restore_receipts=restore_receipts)

    return in_child(work, folder)


def overlap(case, folder, fault):
    """Outcomes of an attempt that is held and of one that begins beside it; the latter is None if the first never came to its moment."""
    here, there = os.pipe(), os.pipe()

    def hold():
        os.write(here[1], b"h")
        os.read(there[0], 1)

    first = try_once(case, folder, replace(fault, kind=HOLD), hold=hold)
    os.close(here[1])
    held = os.read(here[0], 1) == b"h"
    second = None
    if held:
        Path(folder, "second").mkdir(exist_ok=True)
        child = in_child(lambda moments: attempt(case, folder, moments, restore_receipts=False), f"{folder}/second")
        second = outcome_of(child, f"{folder}/second")
    os.write(there[1], b"g")
    ended = outcome_of(first, folder)
    for end in (here[0], *there):
        os.close(end)
    return ended, second
