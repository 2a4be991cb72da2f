"""Raw pairs: an encoded image or where it lies, a text, and labels where there are any; what encoders turn into a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import model_validator

from xmr_ray.component import Settings
from xmr_ray.corpus.schema import require_distinct
from xmr_ray.types import Ids


class RawSchema(Settings):
    """What every raw pair looks like, and where the pairs came from; `reader` is the fingerprint of the reader."""

    class_names: tuple[str, ...] = ()
    multi_label: bool = True
    has_labels: bool = False
    source: str = ""
    reader: str = ""

    @property
    def num_classes(self) -> int:
        """Number of classes that labels may name."""
        return len(self.class_names)

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        require_distinct(self.class_names)
        return self


@dataclass(frozen=True)
class RawRecords:
    """A batch of raw pairs: `texts` as they are, `uris` of images (local paths absolute), `images` their encoded bytes.

    A pair has its image in `images` (it lay inside an archive or a table), or at its `uri`, from where it is read when it is encoded;
    both may be given, then the bytes count. `labels` is one sequence of class numbers per pair, or None where there is no truth.
    """

    pair_ids: Ids
    texts: Sequence[str]
    uris: Sequence[str | None]
    images: Sequence[bytes | None] | None = None
    labels: Sequence[Sequence[int]] | None = None

    def __len__(self) -> int:
        return len(self.pair_ids)

    def slice(self, start: int, stop: int) -> "RawRecords":
        """Rows `start` to `stop` of every field."""
        part = slice(start, stop)
        images = None if self.images is None else self.images[part]
        labels = None if self.labels is None else self.labels[part]
        return RawRecords(self.pair_ids[part], self.texts[part], self.uris[part], images, labels)


@dataclass(frozen=True)
class Reject:
    """A pair that is left out, and why."""

    pair_id: int
    uri: str | None
    reason: str
