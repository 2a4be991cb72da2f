"""What a corpus is: its schema, its manifest, and the records that go in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from numpy.typing import NDArray
from pydantic import Field, PositiveInt, ValidationError, model_validator

from xmr_ray.component import Settings
from xmr_ray.errors import CorpusError
from xmr_ray.storage import digest_bytes
from xmr_ray.types import SPLITS, FeatureDtype, Ids, Split

FORMAT_VERSION: Literal[1] = 1
MANIFEST_FILE = "corpus.json"
RAW_MANIFEST_FILE = "raw.json"
STATISTICS_FILE = "statistics.npz"


class CorpusSchema(Settings):
    """What every pair of a corpus looks like, and where the pairs came from.

    `reader` is the fingerprint of the reader that made the corpus (its settings and its input); it decides whether a corpus is already there.
    """

    image_dim: PositiveInt
    text_dim: PositiveInt
    image_dtype: FeatureDtype = "f32"
    text_dtype: FeatureDtype = "f32"
    class_names: tuple[str, ...] = ()
    multi_label: bool = True
    source: str = ""
    reader: str = ""
    has_captions: bool = False
    has_uris: bool = False
    has_thumbnails: bool = False

    @property
    def num_classes(self) -> int:
        """Number of classes that labels may name."""
        return len(self.class_names)

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        require_distinct(self.class_names)
        return self


def require_distinct(class_names: Sequence[str]) -> None:
    """Raise `ValueError` naming the first class name that is repeated."""
    if len(set(class_names)) != len(class_names):
        repeated = next(name for i, name in enumerate(class_names) if name in class_names[:i])
        raise ValueError(f"class name {repeated!r} is repeated; expected distinct names")


class FileEntry(Settings):
    """One Parquet file of the corpus: its path below the corpus, its rows and what its bytes must be."""

    file: str
    rows: int = Field(gt=0)
    bytes: int = Field(gt=0)
    sha256: str
    row_groups: tuple[int, ...]

    @model_validator(mode="after")
    def _rows_add_up(self) -> Self:
        if sum(self.row_groups) != self.rows:
            raise ValueError(f"{self.file}: row groups hold {sum(self.row_groups)} rows, the file {self.rows}")
        return self


class StatisticsEntry(Settings):
    """The file of per-dimension means and standard deviations."""

    file: str = STATISTICS_FILE
    bytes: int = Field(gt=0)
    sha256: str


class Manifest(Settings):
    """`corpus.json`: written last, so its existence means that the corpus is complete.

    Truth files are aligned with pair files: file i of `truth[split]` holds the labels of file i of `splits[split]`, row by row.
    """

    format_version: Literal[1] = FORMAT_VERSION
    corpus: CorpusSchema
    splits: Mapping[Split, tuple[FileEntry, ...]]
    truth: Mapping[Split, tuple[FileEntry, ...]]
    statistics: StatisticsEntry

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        for split, files in self.truth.items():
            pairs = [entry.rows for entry in self.splits.get(split, ())]
            truth = [entry.rows for entry in files]
            if pairs != truth:
                raise ValueError(f"misaligned shards in split {split!r}: pair files hold {pairs} rows, truth files {truth}")
        return self

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that the manifest says, hashes of all files included."""
        return digest_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The manifest as JSON; equal manifests give equal bytes."""
        splits, truth = ({split: files[split] for split in SPLITS if split in files} for files in (self.splits, self.truth))
        ordered = self.model_copy(update={"splits": splits, "truth": truth})
        return ordered.model_dump_json(indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, path: str) -> "Manifest":
        """Parse a manifest; raises `CorpusError` naming `path` and the first thing that is wrong."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = f"{path}: not a manifest of format {FORMAT_VERSION}: {where or 'file'}: {first['msg']}"
            raise CorpusError(f"{message}; ingest the corpus again") from error


@dataclass(frozen=True)
class PairRecords:
    """A batch of pairs on their way into a corpus.

    `pair_ids` (B,) int64, `image` (B, I) and `text` (B, T) of any float type, `labels` one sequence of class numbers per pair or None where
    there is no truth; captions, URIs and thumbnails (encoded images) are optional and may hold None.
    """

    pair_ids: Ids
    image: NDArray[Any]
    text: NDArray[Any]
    labels: Sequence[Sequence[int]] | None = None
    captions: Sequence[str | None] | None = None
    uris: Sequence[str | None] | None = None
    thumbnails: Sequence[bytes | None] | None = None

    def __len__(self) -> int:
        return len(self.pair_ids)

    def slice(self, start: int, stop: int) -> "PairRecords":
        """Rows `start` to `stop` of every field."""
        lists = (self.labels, self.captions, self.uris, self.thumbnails)
        labels, captions, uris, thumbnails = (None if rows is None else rows[start:stop] for rows in lists)
        part = slice(start, stop)
        return PairRecords(self.pair_ids[part], self.image[part], self.text[part], labels, captions, uris, thumbnails)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Item:
    """What a person sees of a pair; None where the corpus does not hold it."""

    caption: str | None
    uri: str | None
    thumbnail: bytes | None
