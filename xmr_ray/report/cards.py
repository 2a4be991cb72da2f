"""Pairs as a reader sees them: a picture, a title, labels."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xmr_ray.corpus.schema import Item
from xmr_ray.errors import CorpusError
from xmr_ray.types import LabelSet

_MAX_TITLE = 90
_SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


@dataclass(frozen=True)
class Card:
    """One pair; `labels` is None where they are not known."""

    pair_id: int
    title: str
    image: str | None
    labels: tuple[str, ...] | None


def make_card(pair_id: int, item: Item | None, labels: tuple[str, ...] | None) -> Card:
    """A card from what the corpus holds: caption, else URI, else the id alone."""
    title = (item.caption or item.uri) if item else None
    image = data_uri(item.thumbnail, pair_id=pair_id) if item and item.thumbnail else None
    return Card(pair_id, shorten(title) if title else f"pair {pair_id}", image, labels)


def shorten(text: str) -> str:
    """Text on one line, cut at a word where it is long.

    >>> shorten("one  two"), len(shorten("word " * 50)) <= 91
    ('one two', True)
    """
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TITLE else line[:_MAX_TITLE].rsplit(" ", 1)[0] + "…"


def data_uri(image: bytes, *, pair_id: int) -> str:
    """An encoded image as a `data:` address; raises `CorpusError` for another type than WebP, PNG, JPEG or GIF."""
    kind = (
        "image/webp"
        if image[:4] == b"RIFF" and image[8:12] == b"WEBP"
        else next((kind for start, kind in _SIGNATURES if image.startswith(start)), None)
    )
    if kind is None:
        raise CorpusError(f"thumbnail of pair_id {pair_id}: begins with {image[:8]!r}, expected WebP, PNG, JPEG or GIF; ingest the corpus again")
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def names_of(labels: LabelSet, class_names: Sequence[str]) -> Mapping[int, tuple[str, ...]]:
    """Class names of every pair of a label set; a class without a name is called by its number."""
    names = {c: class_names[c] if c < len(class_names) else f"class {c}" for c in set(labels.classes.tolist())}
    rows = zip(labels.pair_ids_L.tolist(), labels.offsets[:-1].tolist(), labels.offsets[1:].tolist(), strict=True)
    return {pair_id: tuple(names[c] for c in labels.classes[start:stop].tolist()) for pair_id, start, stop in rows}
