"""Any model of sentence-transformers, from the hub or a local folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from xmr_ray.encoders.encoder import Encoder
from xmr_ray.encoders.imports import required
from xmr_ray.types import Floats


class SentenceTransformers(Encoder):
    """L2-normalised sentence embeddings; `model` is a name on the hub or a folder."""

    kind: Literal["sentence_transformers"] = "sentence_transformers"
    model: str = "sentence-transformers/all-MiniLM-L6-v2"

    def build(self, device: torch.device, state: bytes | None = None) -> "BuiltSentences":
        """The model on `device`; raises `ConfigError` if sentence-transformers is missing."""
        self.refuse(state)
        library = required("sentence_transformers", kind=self.kind, extra="sentence-transformers")
        model = library.SentenceTransformer(self.model, device=str(device))
        return BuiltSentences(_encode(model, [""]).shape[1], model)


@dataclass(frozen=True)
class BuiltSentences:
    """A loaded model."""

    dim: int
    model: Any

    def encode(self, texts: Sequence[str]) -> Floats:
        """Features (B, dim), each row of length 1."""
        return _encode(self.model, texts)


def _encode(model: Any, texts: Sequence[str]) -> Floats:
    made = model.encode(list(texts), batch_size=len(texts), normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False)
    features_BD: Floats = made.detach().to(device="cpu", dtype=torch.float32).numpy()
    return np.ascontiguousarray(features_BD)
