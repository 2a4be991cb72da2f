"""Per-dimension mean and standard deviation, accumulated while a corpus is written and kept beside it."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import CorpusError
from xmr_ray.types import FeatureStatistics, Floats


class Moments:
    """Running mean and sum of squared deviations per dimension in float64 (Chan's pairwise update).

    >>> moments = Moments(2)
    >>> moments.add(np.array([[1.0, 5.0]], dtype=np.float32))
    >>> moments.add(np.array([[3.0, 5.0]], dtype=np.float32))
    >>> moments.mean().tolist(), moments.std().tolist()
    ([2.0, 5.0], [1.0, 1.0])
    """

    def __init__(self, width: int) -> None:
        self._count = 0
        self._mean_W: NDArray[np.float64] = np.zeros(width)
        self._squares_W: NDArray[np.float64] = np.zeros(width)

    def add(self, features_BW: Floats) -> None:
        """Take in a batch of vectors."""
        num_rows = len(features_BW)
        if num_rows == 0:
            return
        mean_W = features_BW.mean(axis=0, dtype=np.float64)
        self._take(num_rows, mean_W, np.square(features_BW - mean_W).sum(axis=0))

    def merge(self, other: "Moments") -> None:
        """Take in the vectors that another one has seen."""
        if other._count:
            self._take(other._count, other._mean_W, other._squares_W)

    def to_json(self) -> dict[str, Any]:
        """What was seen, as numbers that JSON keeps to the last bit."""
        return {"count": self._count, "mean": self._mean_W.tolist(), "squares": self._squares_W.tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Moments":
        """The inverse of `to_json`."""
        moments = cls(len(content["mean"]))
        moments._count = int(content["count"])
        moments._mean_W, moments._squares_W = np.asarray(content["mean"], np.float64), np.asarray(content["squares"], np.float64)
        return moments

    def _take(self, num_rows: int, mean_W: NDArray[np.float64], squares_W: NDArray[np.float64]) -> None:
        delta_W, total = mean_W - self._mean_W, self._count + num_rows
        self._mean_W = self._mean_W + delta_W * (num_rows / total)
        self._squares_W = self._squares_W + squares_W + np.square(delta_W) * (self._count * num_rows / total)
        self._count = total

    def mean(self) -> Floats:
        """Mean per dimension, float32; zeros before the first row."""
        return self._mean_W.astype(np.float32)

    def std(self) -> Floats:
        """Population standard deviation per dimension, float32; 1 where a dimension is constant to the precision of float32."""
        std_W = np.sqrt(self._squares_W / max(self._count, 1))
        resolution_W = np.abs(self._mean_W) * np.finfo(np.float32).eps
        return np.where(std_W > resolution_W, std_W, 1.0).astype(np.float32)


def to_bytes(statistics: FeatureStatistics) -> bytes:
    """The statistics as the bytes of an npz file; equal statistics give equal bytes."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        image_mean=statistics.image_mean_I,
        image_std=statistics.image_std_I,
        text_mean=statistics.text_mean_T,
        text_std=statistics.text_std_T,
    )
    return buffer.getvalue()


def from_bytes(data: bytes, *, path: str) -> FeatureStatistics:
    """Statistics from the bytes of an npz file; raises `CorpusError` naming `path` if they are none."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return FeatureStatistics(arrays["image_mean"], arrays["image_std"], arrays["text_mean"], arrays["text_std"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{path}: not a statistics file ({error}); ingest the corpus again") from error
