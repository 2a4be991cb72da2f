"""Who answers: an annotator is asked for a selection and hands back answers when it has them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field

from xmr_ray.component import Component
from xmr_ray.labels.label_studio_server import LabelStudioSettings
from xmr_ray.types import Ids, LabelSet, Selection


@dataclass(frozen=True)
class Answers:
    """What was answered: labels of some pairs, and the pairs of which nobody can tell. Both count as bought."""

    labels: LabelSet
    cannot_tell_n: Ids

    @property
    def pair_ids(self) -> Ids:
        """Every answered pair, ascending."""
        return np.sort(np.concatenate([self.labels.pair_ids_L, self.cannot_tell_n]))


@dataclass(frozen=True)
class Pending:
    """Answers that have not come yet."""

    num_answered: int
    num_asked: int


class Annotator(Protocol):
    """Asked once for each purchase; `collect` may be called as often as one likes and loses nothing."""

    def request(self, selection: Selection, *, folder: str) -> None:
        """Ask for the labels of these pairs; `folder` is the round's. Asking again for the same pairs changes nothing."""

    def collect(self) -> Answers | Pending:
        """The answers to the last request, or how many of them there are so far."""


class People(Annotator, Protocol):
    """An annotator of people, whose time is what labels cost."""

    def request(self, selection: Selection, *, folder: str, elsewhere: Collection[int] = ()) -> None:
        """As of every annotator; for pairs `elsewhere`, whose answers will come from another run, nobody is asked here."""


class Oracle:
    """The annotator that answers at once, from a truth look-up that it is handed; it does not open the corpus."""

    def __init__(self, look_up: Callable[[Ids], LabelSet]) -> None:
        self._look_up = look_up
        self._asked: Ids = np.empty(0, np.int64)

    def request(self, selection: Selection, *, folder: str) -> None:  # noqa: ARG002 an oracle leaves nothing behind
        """Remember which pairs are asked for."""
        self._asked = selection.pair_ids_n

    def collect(self) -> Answers | Pending:
        """The true labels of the pairs that were asked for."""
        return Answers(self._look_up(self._asked), np.empty(0, np.int64))


class OracleSettings(Component):
    """Labels come from the corpus' truth: simulation, as in published experiments."""

    kind: Literal["oracle"] = "oracle"


class FilesSettings(Component):
    """People answer with files: a page to tick, a CSV and a JSONL are written, `xmr-ray label import` takes what they saved."""

    kind: Literal["files"] = "files"


AnnotatorSettings = Annotated[
    OracleSettings | FilesSettings | LabelStudioSettings,
    Field(discriminator="kind"),
]
