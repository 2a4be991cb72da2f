"""Train pairs as points of one space, read descriptor by descriptor, and files of columns made from them, rows in the descriptor's order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmr_ray import seals, storage
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.errors import StrategyError
from xmr_ray.geometry.features import feature_points
from xmr_ray.geometry.hashing import hash_sample
from xmr_ray.scoring.outputs import file_of, read_matrices
from xmr_ray.types import Descriptor, Floats, Ids

# feature: both modalities' standardised features side by side, which no network has seen; fused: mean of the fused Gaussian; embedding: mean
# of both unit embeddings, for networks without Gaussian heads; prediction: stage 1's probabilities, where Euclidean distance is Hellinger's.
Space = Literal["feature", "fused", "embedding", "prediction"]


@dataclass(frozen=True)
class Points:
    """Points with their pair ids."""

    ids_B: Ids
    points_BD: Floats

    def __len__(self) -> int:
        return len(self.ids_B)


@dataclass(frozen=True)
class PointSource:
    """Where the points of a round lie: below `root`, as scoring wrote them, one file a descriptor; in space `feature`, in the corpus itself."""

    root: str
    space: Space
    multi_label: bool
    descriptors: tuple[Descriptor, ...]
    corpus: PairedCorpus | None = None

    @classmethod
    def of(cls, corpus: PairedCorpus, root: str, space: Space) -> "PointSource":
        """The train pairs of a corpus, scored below `root`."""
        return cls(root, space, corpus.schema.multi_label, corpus.descriptors("train"), corpus)

    @property
    def num_points(self) -> int:
        """All pairs of the descriptors."""
        return sum(descriptor.num_rows for descriptor in self.descriptors)

    def read(self, descriptor: Descriptor) -> Points:
        """The points of one descriptor, in its order; raises `StrategyError` if one is not finite."""
        if self.space == "feature":
            batch = self._corpus.read(descriptor)
            ids_B, points_BD = batch.pair_ids_B, feature_points(batch.images(), batch.texts(), self._corpus.statistics())
        elif self.space == "fused":
            ids_B, found = read_matrices(self.root, "embeddings", descriptor, ("fused_mean",))
            points_BD = found["fused_mean"]
        elif self.space == "embedding":
            ids_B, found = read_matrices(self.root, "embeddings", descriptor, ("image_embedding", "text_embedding"))
            points_BD = np.asarray((found["image_embedding"] + found["text_embedding"]) / 2, np.float32)
        else:
            ids_B, found = read_matrices(self.root, "predictions", descriptor, ("probability",))
            points_BD = hellinger_points(found["probability"], multi_label=self.multi_label)
        if not np.isfinite(points_BD).all():
            wrong = ids_B[~np.isfinite(points_BD).all(axis=1)][0]
            raise StrategyError(f"{self.root}: pair_id {wrong} is no finite point of space {self.space!r}; check features and networks of this round")
        return Points(ids_B, points_BD)

    def read_ids(self, descriptor: Descriptor) -> Ids:
        """The ids alone."""
        if self.space == "feature":
            return self._corpus.read_ids(descriptor)
        kind = "predictions" if self.space == "prediction" else "embeddings"
        return storage.read_table(file_of(self.root, kind, descriptor), ["pair_id"])["pair_id"].to_numpy()

    @property
    def _corpus(self) -> PairedCorpus:
        assert self.corpus is not None, "space 'feature' reads the corpus"
        return self.corpus


def hellinger_points(probabilities_BC: Floats, *, multi_label: bool) -> Floats:
    """Points whose Euclidean distance is the Hellinger distance of the predicted labels, times the square root of 2.

    Square roots of one distribution over classes, (B, C); of several labels the classes are independent, so the roots of the
    complements stand beside them, (B, 2C).

    >>> hellinger_points(np.array([[0.25, 0.0]], dtype=np.float32), multi_label=True).round(3).tolist() == [[0.5, 0.0, np.float32(0.866), 1.0]]
    True
    """
    within_BC = np.clip(probabilities_BC, 0, 1)
    if not multi_label:
        return np.sqrt(within_BC)
    return np.sqrt(np.concatenate([within_BC, 1 - within_BC], axis=1))


def sample_ids(source: PointSource, descriptors: Sequence[Descriptor], *, size: int, seed: int, round_index: int, purpose: str) -> Ids:
    """The hash sample of some descriptors' ids, ascending; never more than `size` and one descriptor's ids are held."""
    kept = np.empty(0, np.int64)
    for descriptor in descriptors:
        kept = merge_samples([kept, source.read_ids(descriptor)], size=size, seed=seed, round_index=round_index, purpose=purpose)
    return kept


def merge_samples(parts: Sequence[Ids], *, size: int, seed: int, round_index: int, purpose: str) -> Ids:
    """The hash sample of several hash samples, which is that of all their pairs."""
    return hash_sample(np.concatenate(parts), size=size, seed=seed, round_index=round_index, purpose=purpose)


def gather_points(source: PointSource, descriptors: Sequence[Descriptor], wanted: Ids) -> Points:
    """The points of some descriptors whose ids are wanted, ascending by id; raises `StrategyError` for no descriptors."""
    parts = []
    for descriptor in descriptors:
        points = source.read(descriptor)
        rows = np.flatnonzero(np.isin(points.ids_B, wanted))
        parts.append(Points(points.ids_B[rows], points.points_BD[rows]))
    return join_points(parts)


def join_points(parts: Sequence[Points]) -> Points:
    """All points, ascending by id; raises `StrategyError` for no parts."""
    if not parts:
        raise StrategyError("points: there is no train pair to look at; the corpus needs a train split")
    ids_N = np.concatenate([part.ids_B for part in parts])
    order_N = np.argsort(ids_N, kind="stable")
    return Points(ids_N[order_N], np.concatenate([part.points_BD for part in parts])[order_N])


def version_of(version: str, **settings: Any) -> str:
    """A version that changes with the networks' version and with every setting."""
    listed = "/".join(f"{name}={settings[name]}" for name in sorted(settings))
    return f"{version[:16]}-{storage.digest_bytes(f'{version}/{listed}'.encode())[:16]}"


def write_columns(root: str, kind: str, descriptor: Descriptor, ids_B: Ids, columns: Mapping[str, NDArray[Any]], *, version: str) -> None:
    """Write one descriptor's columns of a kind, whole or not at all."""
    table = pa.table({"pair_id": pa.array(ids_B), **{name: pa.array(values) for name, values in columns.items()}})
    storage.write_table(file_of(root, kind, descriptor), seals.seal_table(table.replace_schema_metadata({"version": version})))
