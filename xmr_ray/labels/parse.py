"""Answers from files, checked against what was asked: every problem is found and named with its line."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from xmr_ray.labels.formats import LabelRow, Read, read_rows
from xmr_ray.labels.questions import Answer
from xmr_ray.types import Ids


@dataclass(frozen=True)
class Rules:
    """What an answer may say: classes by name, pairs of the train split, those asked for (None: any), and the answers that are known already.

    With `correct` it may contradict a known one, unless that is paid for.
    """

    class_names: tuple[str, ...]
    multi_label: bool
    train_ids: Ids
    asked: Ids | None = None
    earlier: Mapping[int, Answer] = field(default_factory=dict)
    paid: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    correct: bool = False


@dataclass(frozen=True)
class Parsed:
    """Good answers that are new or correct an earlier one, how many correct, how many only repeat, how many lines hold none, and every problem."""

    answers: tuple[Answer, ...]
    num_corrected: int
    num_same: int
    num_blank: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Valid:
    row: LabelRow
    answer: Answer


def parse_answers(files: Mapping[str, bytes], rules: Rules) -> Parsed:
    r"""Answers from the bytes of files by name, all checked together.

    A line that answers a pair a second time in its file is a problem, even if it says the same; of two lines that contradict each other
    neither is good. The same answer in another file, or given earlier, is fine; another one than earlier is a problem unless it may correct.

    >>> rules = Rules(("cat", "dog"), True, np.array([3, 4]), asked=np.array([3]))
    >>> parse_answers({"a.csv": b"pair_id,labels,answer\n3,dog,labelled\n4,cta,labelled\n"}, rules).problems
    ("a.csv:3: 'cta' is no class, did you mean 'cat'?", 'a.csv:3: pair_id 4 was not asked for in this round')
    """
    lines: list[Read] = [line for name, data in files.items() for line in read_rows(data, name=name)]
    problems = [line for line in lines if isinstance(line, str)]
    rows = [line for line in lines if isinstance(line, LabelRow)]
    checker = _Checker(rules)
    valid = [found for row in rows if (found := checker.check(row, problems)) is not None]
    kept, num_repeated = _distinct(valid, problems)
    known = [rules.earlier.get(one.answer.pair_id) for one in kept]
    told = tuple(one.answer for one, before in zip(kept, known, strict=True) if before is None or before.classes != one.answer.classes)
    num_corrected = len(told) - sum(before is None for before in known)
    return Parsed(told, num_corrected, len(kept) - len(told) + num_repeated, sum(line is None for line in lines), tuple(problems))


class _Checker:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        exact = {name: number for number, name in enumerate(rules.class_names)}
        self._numbers = {name.strip(): number for name, number in exact.items()} | exact
        self._train = set(rules.train_ids.tolist())
        self._asked = None if rules.asked is None else set(np.asarray(rules.asked).tolist())
        self._paid = set(rules.paid.tolist())

    def check(self, row: LabelRow, problems: list[str]) -> _Valid | None:
        """The answer of a row; what is wrong with it is added to the problems."""
        wrong = [*self._labels_wrong(row), *self._pair_wrong(row.pair_id)]
        if not wrong:
            answer = Answer(row.pair_id, None if row.labels is None else self._classes(row.labels), row.annotator)
            known, paid = self._rules.earlier.get(row.pair_id), row.pair_id in self._paid
            if known is None or known.classes == answer.classes or (self._rules.correct and not paid):
                return _Valid(row, answer)
            why = "that is paid for, and a closed purchase is never changed" if paid else "--replace takes the newer answer"
            wrong = [f"pair_id {row.pair_id} is {self._named(answer)} here, but was {self._named(known)} before; {why}"]
        problems.extend(f"{row.where}: {text}" for text in wrong)
        return None

    def _labels_wrong(self, row: LabelRow) -> list[str]:
        names = row.labels or ()
        wrong = [self._unknown(name) for name in names if self._number(name) is None]
        if row.labels is not None and not self._rules.multi_label and not wrong and len(self._classes(names)) != 1:
            wrong = [f"pair_id {row.pair_id} has {len(self._classes(names))} labels, but every pair of this corpus has exactly one class"]
        return wrong

    def _pair_wrong(self, pair_id: int) -> list[str]:
        if pair_id not in self._train:
            return [f"pair_id {pair_id} is no pair of the train split"]
        if self._asked is not None and pair_id not in self._asked and pair_id not in self._rules.earlier:
            return [f"pair_id {pair_id} was not asked for in this round"]
        return []

    def _classes(self, names: Sequence[str]) -> tuple[int, ...]:
        return tuple(sorted({number for name in names if (number := self._number(name)) is not None}))

    def _number(self, name: str) -> int | None:
        """The class of exactly this name, else of the name without blanks around it."""
        return self._numbers.get(name, self._numbers.get(name.strip()))

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._numbers, n=1)
        return f"{name!r} is no class" + (f", did you mean {near[0]!r}?" if near else f"; there are {len(self._rules.class_names)} classes")

    def _named(self, answer: Answer) -> str:
        if answer.classes is None:
            return "cannot_tell"
        return " and ".join(self._rules.class_names[number] for number in answer.classes) or "without a class"


def _distinct(valid: Iterable[_Valid], problems: list[str]) -> tuple[list[_Valid], int]:
    """One row a pair; how many rows of other files say the same as an earlier file."""
    by_pair: dict[int, list[_Valid]] = {}
    for one in valid:
        by_pair.setdefault(one.answer.pair_id, []).append(one)
    kept, num_repeated = [], 0
    for pair_id, found in by_pair.items():
        first = found[0]
        contradicted = [one for one in found if one.answer.classes != first.answer.classes]
        problems.extend(f"{one.row.where}: pair_id {pair_id} contradicts {first.row.where}" for one in contradicted)
        if contradicted:
            continue
        kept.append(first)
        for one, before in zip(found[1:], found, strict=False):
            if one.row.file == before.row.file:
                problems.append(f"{one.row.where}: pair_id {pair_id} is repeated, it was answered in line {before.row.line}")
            else:
                num_repeated += 1
    return kept, num_repeated
