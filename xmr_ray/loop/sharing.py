"""Runs of one experiment share their people: what was answered in one of them is not asked again in another."""

import logging
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from xmr_ray import seals, storage
from xmr_ray.labels.annotators import Answers, Pending, People
from xmr_ray.labels.answers import append_answers, read_answers
from xmr_ray.labels.questions import Answer
from xmr_ray.runs.directory import RoundDirectory, RunDirectory, read_json
from xmr_ray.types import Selection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Others:
    """The other runs of an experiment that ask the same people about the same pairs: those before a run in the experiment's order, those after it."""

    before: tuple[RunDirectory, ...] = ()
    after: tuple[RunDirectory, ...] = ()

    def take_over(self, folder: str, pair_ids: Iterable[int]) -> Mapping[int, Answer]:
        """Keep in a round's folder what other runs have been answered about these pairs, and what they corrected since; returns all that is kept.

        A pair's own answer stays unless another run holds a later revision of it. Done twice, or killed in between, nothing is there twice.

        Raises:
            StorageError: a file with answers is damaged, here or in another run.
        """
        wanted, kept = list(pair_ids), read_answers(folder)
        for directory in (*self.before, *self.after):
            found = _answers_of(directory, wanted)
            if told := [answer for answer in found.values() if _counts(answer, kept.get(answer.pair_id))]:
                append_answers(folder, told, source=f"run {PurePosixPath(directory.path).name}", correct=True)
                log.info("step=take_over folder=%s from=%s answers=%d", folder, directory.path, len(told))
                kept = read_answers(folder)
        return kept

    def take_turn(self, place: RoundDirectory) -> None:
        """Put a purchase behind all that wait in other runs, once: whose turn came first asks for the pairs that several of them want."""
        if not storage.exists(place.turn):
            turns = [_turn_of(other) for directory in (*self.before, *self.after) if (other := _waiting(directory))]
            storage.write_whole(place.turn, seals.seal_json({"turn": 1 + int(max(turns, default=0))}))

    def asked(self, place: RoundDirectory, pair_ids: Collection[int]) -> frozenset[int]:
        """Those of a purchase's pairs for which another run asks, since its turn came first; of equal turns the earlier run's.

        Every pair is asked for by one run, for the order is the same seen from each of them; and who asks for it goes on asking.
        """
        mine, waiting = _turn_of(place), set[int]()
        for directories, last in ((self.before, mine), (self.after, mine - 1)):
            for other in filter(None, map(_waiting, directories)):
                selection = other.read_selection() if _turn_of(other) <= last else None
                waiting.update(selection.pair_ids_n.tolist() if selection else ())
        return frozenset(pair_ids) & waiting


class Sharing:
    """The annotator of a run whose people answer for other runs too: it asks for nothing that they have answered or are asked elsewhere."""

    def __init__(self, people: People, others: Others) -> None:
        self._people, self._others = people, others

    def request(self, selection: Selection, *, folder: str) -> None:
        """Take over what other runs know, and ask for the rest but what another run asks for."""
        place, pair_ids = RoundDirectory(folder, int(PurePosixPath(folder).name)), selection.pair_ids_n.tolist()
        self._others.take_over(folder, pair_ids)
        self._others.take_turn(place)
        self._people.request(selection, folder=folder, elsewhere=self._others.asked(place, pair_ids))

    def collect(self) -> Answers | Pending:
        """All answers to the last request, or how many there are so far."""
        return self._people.collect()


def _answers_of(directory: RunDirectory, wanted: Iterable[int]) -> dict[int, Answer]:
    """What a run was answered about some pairs, by pair."""
    *paid, newest = [place.path for place in directory.rounds()] or [""]
    given = [*map(_paid_answers, paid), read_answers(newest) if newest else {}]
    return {pair_id: answers[pair_id] for answers in reversed(given) for pair_id in wanted if pair_id in answers}


@cache
def _paid_answers(folder: str) -> Mapping[int, Answer]:
    """The answers of a round that another one follows: it has its receipt, so they stay as they are, and are read once."""
    return read_answers(folder)


def _waiting(directory: RunDirectory) -> RoundDirectory | None:
    """The round of a run whose purchase asks people and waits for answers, if there is one."""
    newest = directory.rounds()[-1:]
    return newest[0] if newest and storage.exists(newest[0].turn) and not storage.exists(newest[0].receipt) else None


def _turn_of(place: RoundDirectory) -> float:
    """When a purchase began to ask; infinite before it does."""
    return float((read_json(place.turn) or {}).get("turn", math.inf))


def _counts(theirs: Answer, mine: Answer | None) -> bool:
    return mine is None or (theirs.revision > mine.revision and theirs.classes != mine.classes)
