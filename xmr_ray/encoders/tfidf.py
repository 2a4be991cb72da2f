"""Weighted counts of terms, as scikit-learn's `TfidfVectorizer` gives them, with an optional reduction by truncated SVD."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from scipy.sparse import csr_matrix

from xmr_ray.encoders.encoder import Encoder
from xmr_ray.encoders.state import pack, unpack
from xmr_ray.errors import CorpusError
from xmr_ray.types import Floats

_WORD = re.compile(r"\b\w\w+\b")


class Tfidf(Encoder):
    """tf x idf of the `max_terms` most frequent words that at least `min_df` train texts hold, L2-normalised.

    Words are lower-case and have two letters or more; idf is smoothed, `ln((1 + n) / (1 + df)) + 1`; a text without a known word is a row of
    zeros. With `dim`, rows are projected on the first right singular vectors of at most `svd_rows` train texts, drawn from `seed`.
    One pass over the texts; memory grows with the number of distinct words.
    """

    kind: Literal["tfidf"] = "tfidf"
    max_terms: PositiveInt = 2000
    min_df: PositiveInt = 1
    sublinear: bool = False
    dim: PositiveInt | None = None
    svd_rows: PositiveInt = 20_000
    seed: NonNegativeInt = 0

    def fit(self, texts: Iterable[str]) -> bytes | None:
        """Terms in alphabetical order, their idf, and the projection; raises `CorpusError` if too few terms are left."""
        counts = _count(texts, keep=0 if self.dim is None else self.svd_rows, seed=self.seed)
        frequent = [(word, total) for word, total in counts.totals.items() if counts.holding[word] >= self.min_df]
        terms = sorted(word for word, _ in sorted(frequent, key=lambda item: (-item[1], item[0]))[: self.max_terms])
        if len(terms) < (needed := 1 if self.dim is None else self.dim + 1):
            message = f"{counts.num_texts} texts give {len(terms)} terms (min_df {self.min_df}, max_terms {self.max_terms}), needed: {needed}"
            raise CorpusError(f"tfidf: {message}; check the reader's text column, or change tfidf.min_df, max_terms or dim")
        holding_V = np.array([counts.holding[word] for word in terms], dtype=np.float64)
        arrays = {"idf_V": np.log((1 + counts.num_texts) / (1 + holding_V)) + 1}
        if self.dim is not None:
            from sklearn.decomposition import TruncatedSVD  # here, not above: every worker process would pay a second for it

            rows = BuiltTfidf(self, _columns(terms), arrays["idf_V"]).weigh(counts.sample)
            arrays["axes_DV"] = TruncatedSVD(self.dim, random_state=self.seed).fit(rows).components_
        return pack(terms, arrays)

    def build(self, device: torch.device, state: bytes | None) -> "BuiltTfidf":
        """The fitted weights; works on the CPU whatever the device."""
        del device
        terms, arrays = unpack(state, kind=self.kind)
        return BuiltTfidf(self, _columns(terms), arrays["idf_V"], arrays.get("axes_DV"))


@dataclass(frozen=True)
class BuiltTfidf:
    """Weights of terms, and axes (D, V) where there is a reduction."""

    settings: Tfidf
    columns: Mapping[str, int]
    idf_V: NDArray[np.float64]
    axes_DV: NDArray[np.float64] | None = None

    @property
    def dim(self) -> int:
        """Number of terms, or of axes."""
        return len(self.columns) if self.axes_DV is None else len(self.axes_DV)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Features (B, dim)."""
        rows_BV = self.weigh(texts)
        features_BD = rows_BV.toarray() if self.axes_DV is None else rows_BV @ self.axes_DV.T
        return np.asarray(features_BD, dtype=np.float32)

    def weigh(self, texts: Sequence[str]) -> Any:
        """Weighted counts (B, V), a sparse matrix whose rows have length 1 or 0."""
        values, columns, ends = [], [], [0]
        for text in texts:
            counts = Counter(self.columns[word] for word in _words(text) if word in self.columns)
            found = np.fromiter(counts, dtype=np.int64, count=len(counts))
            tf = np.fromiter(counts.values(), dtype=np.float64, count=len(counts))
            weights = (1 + np.log(tf) if self.settings.sublinear else tf) * self.idf_V[found]
            values.append(weights / max(float(np.linalg.norm(weights)), np.finfo(np.float64).tiny))
            columns.append(found)
            ends.append(ends[-1] + len(found))
        return csr_matrix((np.concatenate(values), np.concatenate(columns), ends), shape=(len(texts), len(self.columns)))


@dataclass
class _Counts:
    num_texts: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    holding: Counter[str] = field(default_factory=Counter)
    sample: list[str] = field(default_factory=list)


def _count(texts: Iterable[str], *, keep: int, seed: int) -> _Counts:
    """How often each word occurs, how many texts hold it, and a uniform sample of `keep` texts (a reservoir)."""
    counts, rng = _Counts(), np.random.default_rng(seed)
    for text in texts:
        words = _words(text)
        counts.totals.update(words)
        counts.holding.update(set(words))
        if len(counts.sample) < keep:
            counts.sample.append(text)
        elif keep and (at := int(rng.integers(counts.num_texts + 1))) < keep:
            counts.sample[at] = text
        counts.num_texts += 1
    return counts


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _columns(terms: Sequence[str]) -> dict[str, int]:
    return {word: i for i, word in enumerate(terms)}
