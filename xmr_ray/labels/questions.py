"""What a person is asked, and what a person answers: one pair each."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Question:
    """A pair that was chosen: what a person sees of it, what the networks suggest (class name -> trust in [0, 1]), why it was chosen."""

    pair_id: int
    text: str | None = None
    uri: str | None = None
    thumbnail: bytes | None = None
    suggested: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One pair's answer: class numbers, ascending (possibly none: no class applies), or None for "cannot tell".

    `revision` counts how often it was corrected before its purchase was closed.
    """

    pair_id: int
    classes: tuple[int, ...] | None
    annotator: str = ""
    revision: int = 0
