"""Which of the most frequent tags a pair has: the text features that the tagged benchmarks of this field are published with."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt

from xmr_ray.encoders.encoder import Encoder
from xmr_ray.encoders.state import pack, unpack
from xmr_ray.errors import CorpusError
from xmr_ray.types import Floats


class TagBow(Encoder):
    """A row of zeros and ones, one column for each of the `num_tags` tags that most train texts hold (fewer if there are fewer).

    `separator` is the regular expression between two tags; case is ignored. Tags of equal frequency are taken in alphabetical order.
    """

    kind: Literal["tag_bow"] = "tag_bow"
    num_tags: PositiveInt = 1000
    separator: str = r"[\s,;]+"

    def tags(self, text: str) -> set[str]:
        """The distinct tags of a text.

        >>> sorted(TagBow().tags("Sky, sea;  sky"))
        ['sea', 'sky']
        """
        return {tag for tag in re.split(self.separator, text.lower()) if tag}

    def fit(self, texts: Iterable[str]) -> bytes | None:
        """The most frequent tags, the most frequent first; raises `CorpusError` if no text holds any."""
        counts = Counter(tag for text in texts for tag in self.tags(text))
        if not counts:
            raise CorpusError("no train text holds a tag; check the reader's text column, or take another text encoder")
        return pack([tag for tag, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: self.num_tags]], {})

    def build(self, device: torch.device, state: bytes | None) -> "BuiltTagBow":
        """The columns; works on the CPU whatever the device."""
        del device
        tags, _ = unpack(state, kind=self.kind)
        return BuiltTagBow(self, {tag: i for i, tag in enumerate(tags)})


@dataclass(frozen=True)
class BuiltTagBow:
    """The column of every tag."""

    settings: TagBow
    columns: Mapping[str, int]

    @property
    def dim(self) -> int:
        """Number of tags."""
        return len(self.columns)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Zeros and ones (B, dim); tags without a column are left out."""
        features_BD = np.zeros((len(texts), self.dim), dtype=np.float32)
        for i, text in enumerate(texts):
            features_BD[i, [self.columns[tag] for tag in self.settings.tags(text) if tag in self.columns]] = 1
        return features_BD
