"""A seeded generator of pairs with a known latent structure: any number of pairs, any dims, dense clumps of near-duplicates."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt

from xmr_ray.component import Component
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import Source, fingerprint
from xmr_ray.geometry.threads import one_thread
from xmr_ray.types import SPLITS, FeatureDtype, Floats, Ids, Split

CHUNK_ROWS = 1024
CLUMP_SPREAD = 0.05
ID_STRIDE = 16


@dataclass(frozen=True)
class _World:
    """What all pairs share: class directions and thresholds, clump centres, and the two views of the latent space."""

    classes_CZ: Floats
    thresholds_C: Floats
    centres_MZ: Floats
    image_ZH: Floats
    image_HI: Floats
    text_ZH: Floats
    text_HT: Floats


@dataclass(frozen=True)
class Latents:
    """What is known of synthetic pairs beyond their records: their clump (-1 for none), latent position and true labels."""

    pair_ids_B: Ids
    clumps_B: NDArray[np.int64]
    latent_BZ: Floats
    labels_BC: NDArray[np.bool_]


class SyntheticReader(Component):
    """Pairs from a Gaussian latent space; image and text are different noisy non-linear views of the same latent vector.

    A class holds where the latent vector reaches far enough along the class's direction (multi-label; the strongest class always
    holds) or is the one it reaches farthest along (single-label). `clump_share` of the pairs lie in `num_clumps` tight clumps of
    near-duplicates. Pair i of a split is the same however the stream is cut: chunk c of a split is drawn from (seed, split, c).
    """

    kind: Literal["synthetic"] = "synthetic"
    num_train: PositiveInt = 4000
    num_validation: NonNegativeInt = 400
    num_test: NonNegativeInt = 1000
    image_dim: PositiveInt = 64
    text_dim: PositiveInt = 32
    num_classes: int = Field(default=10, ge=2)
    multi_label: bool = True
    labels_per_pair: float = Field(default=1.8, gt=0)
    latent_dim: PositiveInt = 16
    noise: float = Field(default=0.5, ge=0)
    clump_share: float = Field(default=0.2, ge=0, le=1)
    num_clumps: PositiveInt = 20
    dtype: FeatureDtype = "f32"
    seed: NonNegativeInt = 0

    def read(self) -> Source:
        """The generator as a source; nothing is drawn before the stream is started."""
        schema = CorpusSchema(
            image_dim=self.image_dim,
            text_dim=self.text_dim,
            image_dtype=self.dtype,
            text_dtype=self.dtype,
            class_names=tuple(f"class-{i:0{len(str(self.num_classes - 1))}d}" for i in range(self.num_classes)),
            multi_label=self.multi_label,
            source=f"synthetic, seed {self.seed}",
            reader=fingerprint(self),
        )
        return Source(schema, {split: self.num_pairs(split) for split in SPLITS}, self._read)

    def num_pairs(self, split: Split) -> int:
        """Number of pairs of a split."""
        return {"train": self.num_train, "validation": self.num_validation, "test": self.num_test}[split]

    def latents(self, split: Split, chunk: int) -> Latents:
        """What is known of chunk number `chunk` (1,024 pairs, the last one fewer) of a split."""
        whole = self._whole_latents(split, chunk)
        rows = slice(0, min(CHUNK_ROWS, self.num_pairs(split) - chunk * CHUNK_ROWS))
        return Latents(whole.pair_ids_B[rows], whole.clumps_B[rows], whole.latent_BZ[rows], whole.labels_BC[rows])

    def records(self, split: Split, chunk: int) -> PairRecords:
        """The pairs of one chunk of a split."""
        world, known = _world(self), self._whole_latents(split, chunk)
        rng = np.random.default_rng([*self._entropy(split, chunk), 1])
        noise_B1 = np.where(known.clumps_B >= 0, CLUMP_SPREAD, 1.0).astype(np.float32)[:, None] * np.float32(self.noise)
        views = []
        for into_ZH, out_HW in ((world.image_ZH, world.image_HI), (world.text_ZH, world.text_HT)):
            noise_BW = rng.standard_normal((CHUNK_ROWS, out_HW.shape[1]), dtype=np.float32)
            with one_thread():
                signal_BW = np.tanh(known.latent_BZ @ into_ZH) @ out_HW
            views.append(signal_BW + noise_B1 * noise_BW)
        labels = [np.flatnonzero(row_C).tolist() for row_C in known.labels_BC]
        return PairRecords(known.pair_ids_B, views[0], views[1], labels).slice(0, self.num_pairs(split) - chunk * CHUNK_ROWS)

    def _whole_latents(self, split: Split, chunk: int) -> Latents:
        # always all rows: a matrix product of fewer rows rounds differently
        world, rng = _world(self), np.random.default_rng(self._entropy(split, chunk))
        latent_BZ = rng.standard_normal((CHUNK_ROWS, self.latent_dim), dtype=np.float32)
        clumps_B = np.where(rng.random(CHUNK_ROWS) < self.clump_share, rng.integers(self.num_clumps, size=CHUNK_ROWS), -1)
        inside = clumps_B >= 0
        latent_BZ[inside] = world.centres_MZ[clumps_B[inside]] + CLUMP_SPREAD * latent_BZ[inside]
        with one_thread():
            reach_BC = latent_BZ @ world.classes_CZ.T
        labels_BC = reach_BC > world.thresholds_C if self.multi_label else np.zeros_like(reach_BC, dtype=np.bool_)
        labels_BC[np.arange(CHUNK_ROWS), reach_BC.argmax(axis=1)] = True
        rows_B = np.arange(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS)
        ids_B = self._first_id(split) + ID_STRIDE * rows_B + rng.integers(ID_STRIDE, size=CHUNK_ROWS)
        return Latents(ids_B, clumps_B, latent_BZ, labels_BC)

    def _read(self, split: Split, start: int, stop: int) -> Iterator[PairRecords]:
        for chunk in range(start // CHUNK_ROWS, -(-stop // CHUNK_ROWS)):
            first = chunk * CHUNK_ROWS
            yield self.records(split, chunk).slice(max(start - first, 0), stop - first)

    def _first_id(self, split: Split) -> int:
        return ID_STRIDE * sum(self.num_pairs(earlier) for earlier in SPLITS[: SPLITS.index(split)])

    def _entropy(self, split: Split, chunk: int) -> list[int]:
        return [self.seed, 1 + SPLITS.index(split), chunk]


@lru_cache(maxsize=4)
def _world(reader: SyntheticReader) -> _World:
    rng = np.random.default_rng([reader.seed, 0])
    num_hidden = 4 * reader.latent_dim

    def draw(*shape: int, scale: float = 1.0) -> NDArray[Any]:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)

    classes_CZ = draw(reader.num_classes, reader.latent_dim)
    classes_CZ /= np.linalg.norm(classes_CZ, axis=1, keepdims=True)
    share_C = rng.uniform(0.5, 1.5, size=reader.num_classes) * reader.labels_per_pair / reader.num_classes
    thresholds_C = np.array([NormalDist().inv_cdf(1 - min(max(share, 1e-6), 0.999)) for share in share_C], dtype=np.float32)
    views = []
    for width in (reader.image_dim, reader.text_dim):
        views += [draw(reader.latent_dim, num_hidden, scale=reader.latent_dim**-0.5), draw(num_hidden, width, scale=num_hidden**-0.5)]
    return _World(classes_CZ, thresholds_C, draw(reader.num_clumps, reader.latent_dim), *views)
