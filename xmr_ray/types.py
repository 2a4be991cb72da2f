"""The nouns that flow through the house: frozen, numpy only. Read this first.

Shape letters, the same in every file: `B` batch, `N` pool, `L` labelled pairs, `n` pairs asked for, `C` classes, `D` common space,
`I`/`T` image/text features, `K` neighbours, `M` cells, `Q`/`G` retrieval queries/gallery. Array names end in their shape (`labels_BC`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import CorpusError, StrategyError

FeatureDtype = Literal["bf16", "f16", "f32"]
Split = Literal["train", "validation", "test"]
Ids = NDArray[np.int64]
Floats = NDArray[np.float32]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def widen(features: NDArray[np.generic], dtype: FeatureDtype) -> Floats:
    """Features as float32; bf16 arrives as uint16 bit patterns.

    >>> widen(np.array([[0x3F80, 0xC000]], dtype=np.uint16), "bf16").tolist()
    [[1.0, -2.0]]
    """
    if dtype == "bf16":
        return (features.astype(np.uint32) << 16).view(np.float32)
    return features.astype(np.float32, copy=False)


def narrow(features: Floats, dtype: FeatureDtype) -> NDArray[np.generic]:
    """Features in their storage type, rounded to nearest even; the inverse of `widen`.

    A finite number that the storage type cannot hold raises `CorpusError`; NaN and infinity pass as they are.

    >>> narrow(np.array([1.0, -2.0], dtype=np.float32), "bf16").tolist()
    [16256, 49152]
    """
    if dtype == "f32":
        return np.ascontiguousarray(features, dtype=np.float32)
    if dtype == "f16":
        with np.errstate(over="ignore"):
            halves = features.astype(np.float16)
        _check_range(features, halves, dtype)
        return halves
    bits = np.ascontiguousarray(features, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    rounded = np.where(np.isnan(features), np.uint32(0x7FC0), rounded)
    narrowed = rounded.astype(np.uint16)
    _check_range(features, widen(narrowed, dtype), dtype)
    return narrowed


def _check_range(features: Floats, narrowed: NDArray[np.generic], dtype: FeatureDtype) -> None:
    lost = np.isinf(narrowed) & np.isfinite(features)
    if lost.any():
        raise CorpusError(f"feature {features[lost].flat[0]} does not fit {dtype}; store these features as f32, or scale them first")


@dataclass(frozen=True)
class Descriptor:
    """The unit of work: one row group of one file of one split; `index` counts within the split."""

    index: int
    split: Split
    file: str
    row_group: int
    num_rows: int

    @property
    def name(self) -> str:
        """The stem of every file that is made from this descriptor."""
        return f"{self.split}-{self.index:06d}"


@dataclass(frozen=True)
class PairBatch:
    """One descriptor's pairs in their storage type (bf16 as uint16 bit patterns). It has no place for labels."""

    pair_ids_B: Ids
    image_BI: NDArray[np.generic]
    text_BT: NDArray[np.generic]
    image_dtype: FeatureDtype
    text_dtype: FeatureDtype

    def __len__(self) -> int:
        return len(self.pair_ids_B)

    def images(self) -> Floats:
        """Image features as float32 (B, I)."""
        return widen(self.image_BI, self.image_dtype)

    def texts(self) -> Floats:
        """Text features as float32 (B, T)."""
        return widen(self.text_BT, self.text_dtype)


@dataclass(frozen=True)
class LabelSet:
    """Sparse labels of pairs, ascending by `pair_id`: row i holds `classes[offsets[i]:offsets[i + 1]]`."""

    pair_ids_L: Ids
    offsets: Ids
    classes: NDArray[np.int32]

    def __post_init__(self) -> None:
        repeated = np.flatnonzero(self.pair_ids_L[1:] <= self.pair_ids_L[:-1])
        if len(repeated):
            raise CorpusError(f"label set: pair_id {self.pair_ids_L[repeated[0] + 1]} is repeated or out of order; expected ascending, distinct ids")

    @classmethod
    def of(cls, pair_ids: Iterable[int] | Ids, rows: Sequence[Sequence[int]]) -> "LabelSet":
        """Labels from one list of classes per pair, in any order of pairs; raises `CorpusError` if there are not as many lists as pairs.

        >>> LabelSet.of([7, 3], [[0, 2], [1]]).dense([3, 7], num_classes=3).tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
        """
        ids = np.asarray(list(pair_ids), dtype=np.int64)
        if len(ids) != len(rows):
            raise CorpusError(f"label set: {len(ids)} pairs but {len(rows)} lists of classes; give one list for each pair")
        order = np.argsort(ids, kind="stable")
        lengths = np.array([len(rows[i]) for i in order], dtype=np.int64)
        flat = [c for i in order for c in rows[i]]
        return cls(ids[order], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.asarray(flat, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.pair_ids_L)

    def positions(self, pair_ids: Ids | Sequence[int]) -> Ids:
        """Row of each id, or -1 where this set does not hold it."""
        ids = np.asarray(pair_ids, dtype=np.int64)
        if len(self) == 0:
            return np.full(len(ids), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.pair_ids_L, ids), len(self) - 1)
        return np.where(self.pair_ids_L[at] == ids, at, -1).astype(np.int64)

    def take(self, pair_ids: Ids | Sequence[int]) -> "LabelSet":
        """The labels of these ids; an id without labels raises `CorpusError`."""
        ids = np.sort(np.asarray(pair_ids, dtype=np.int64))
        at = self.positions(ids)
        if (at < 0).any():
            raise CorpusError(f"label set: no labels for pair_id {ids[at < 0][0]}; it holds {len(self)} pairs")
        lengths = self.offsets[at + 1] - self.offsets[at]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(self.offsets[at] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return LabelSet(ids, offsets, self.classes[source])

    def merge(self, other: "LabelSet") -> "LabelSet":
        """Both sets together; an id that is in both raises `CorpusError`."""
        ids = np.concatenate([self.pair_ids_L, other.pair_ids_L])
        order = np.argsort(ids, kind="stable")
        lengths = np.concatenate([np.diff(self.offsets), np.diff(other.offsets)])
        starts = np.concatenate([self.offsets[:-1], other.offsets[:-1] + len(self.classes)])[order]
        offsets = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
        source = np.repeat(starts - offsets[:-1], lengths[order]) + np.arange(offsets[-1])
        return LabelSet(ids[order], offsets, np.concatenate([self.classes, other.classes])[source])

    def dense(self, pair_ids: Ids | Sequence[int], *, num_classes: int) -> Floats:
        """Multi-hot labels (B, C) float32 in the order of `pair_ids`; ids that this set does not hold get a row of zeros.

        A class outside `0 .. num_classes - 1` raises `CorpusError`.
        """
        at = self.positions(pair_ids)
        dense_BC = np.zeros((len(at), num_classes), dtype=np.float32)
        known = np.flatnonzero(at >= 0)
        lengths = self.offsets[at[known] + 1] - self.offsets[at[known]]
        ends = np.cumsum(lengths)
        source = np.repeat(self.offsets[at[known]] - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
        rows, classes = np.repeat(known, lengths), self.classes[source]
        wrong = np.flatnonzero((classes < 0) | (classes >= num_classes))
        if len(wrong):
            pair_id = np.asarray(pair_ids)[rows[wrong[0]]]
            raise CorpusError(f"label set: pair_id {pair_id} has class {classes[wrong[0]]}, expected 0 to {num_classes - 1}")
        dense_BC[rows, classes] = 1.0
        return dense_BC


EMPTY_LABELS = LabelSet(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32))


@dataclass(frozen=True)
class ScoreBlock:
    """One descriptor's scores: `columns[name][i]` belongs to `pair_ids_B[i]`; higher means more worth labelling."""

    pair_ids_B: Ids
    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(np.unique(self.pair_ids_B)) != len(self.pair_ids_B):
            ids, counts = np.unique(self.pair_ids_B, return_counts=True)
            raise StrategyError(f"score block: pair_id {ids[counts > 1][0]} is repeated; score every pair once")
        for name, values in self.columns.items():
            if values.shape != self.pair_ids_B.shape:
                raise StrategyError(f"score block: column {name!r} has shape {values.shape}, expected {self.pair_ids_B.shape}")
            if not np.isfinite(values).all():
                bad = self.pair_ids_B[~np.isfinite(values)][0]
                raise StrategyError(f"score block: column {name!r} is not finite at pair_id {bad}; check features and networks of this round")

    def __len__(self) -> int:
        return len(self.pair_ids_B)

    def only(self, keep_B: NDArray[np.bool_]) -> "ScoreBlock":
        """The rows where `keep_B` holds."""
        return ScoreBlock(self.pair_ids_B[keep_B], {name: values[keep_B] for name, values in self.columns.items()})


@dataclass(frozen=True)
class Selection:
    """Pairs to buy, best first, with what they were chosen by; `reasons` are further columns of the selection file."""

    pair_ids_n: Ids
    utility_n: NDArray[np.float64]
    reasons: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pair_ids_n)


@dataclass(frozen=True)
class FeatureStatistics:
    """Per-dimension mean and standard deviation of the train split, float32."""

    image_mean_I: Floats
    image_std_I: Floats
    text_mean_T: Floats
    text_std_T: Floats


@dataclass(frozen=True)
class TrainedNetworks:
    """Where a round's networks lie, not their weights; `digest` is the hash of the file."""

    path: str
    digest: str


@dataclass(frozen=True)
class DirectionReport:
    """Retrieval in one direction, averaged over queries that have a relevant item (NaN if none has).

    Mean average precision over the whole ranking, within 50 (normalised by the hits within the 50), within the number of relevant items;
    own-pair recall at k over all queries whose pair is in the gallery (empty if none is); NDCG at k graded by the number of shared labels.
    """

    map_all: float
    map_50: float
    recall: Mapping[int, float]
    num_queries: int
    num_without_relevant: int
    map_r: float = float("nan")
    ndcg: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrievalReport:
    """Both directions in one space."""

    i2t: DirectionReport
    t2i: DirectionReport

    @property
    def map_mean(self) -> float:
        """Mean over both directions of the mAP over the whole ranking."""
        return (self.i2t.map_all + self.t2i.map_all) / 2
