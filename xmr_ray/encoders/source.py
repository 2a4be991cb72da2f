"""Raw pairs seen through encoders: a source of features like any other, so that writing, resuming and joining are the same."""

from collections.abc import Iterator

import torch

from xmr_ray.corpus.raw import Reject
from xmr_ray.corpus.raw_corpus import RawCorpus
from xmr_ray.corpus.schema import PairRecords
from xmr_ray.corpus.source import Source
from xmr_ray.encoders.embed import EmbedSettings, PairEncoder, corpus_schema
from xmr_ray.types import Split


class EncodedRows:
    """Reads ranges of raw pairs and encodes them. It travels as settings and a path; each process loads its encoders once."""

    def __init__(self, path: str, settings: EmbedSettings, *, state: bytes | None, use_gpu: bool) -> None:
        located = {"image": settings.image.located(), "text": settings.text.located()}
        self._path, self._settings, self._state, self._use_gpu = path, settings.model_copy(update=located), state, use_gpu
        self._encoder: PairEncoder | None = None
        self._raw: RawCorpus | None = None

    @property
    def encoder(self) -> PairEncoder:
        """Both encoders, loaded when they are first needed."""
        if self._encoder is None:
            self._encoder = PairEncoder(self._settings, state=self._state, device=torch.device("cuda" if self._use_gpu else "cpu"))
        return self._encoder

    def __call__(self, split: Split, start: int, stop: int) -> Iterator[PairRecords | Reject]:
        """Rows `start` to `stop` of a split, and those whose picture cannot be read as rejects."""
        self._raw = self._raw or RawCorpus.open(self._path)  # once: opening looks at every file
        for records in self._raw.read(split, start, stop):
            encoded = self.encoder.encode(records)
            yield from encoded.rejects
            yield encoded.records

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_encoder": None}


def encoded_source(raw: RawCorpus, settings: EmbedSettings, *, state: bytes | None, use_gpu: bool) -> Source:
    """Raw pairs as features; loads both encoders once to learn their widths, on the CPU where only the cluster has GPUs.

    Raises:
        ConfigError: an encoder's library or weights are missing.
    """
    read = EncodedRows(raw.path, settings, state=state, use_gpu=use_gpu)
    encoder = read.encoder if not use_gpu or torch.cuda.is_available() else _on_cpu(settings, state)
    schema = corpus_schema(raw.schema, settings, image_dim=encoder.image_dim, text_dim=encoder.text_dim)
    return Source(schema, raw.num_rows, read)


def _on_cpu(settings: EmbedSettings, state: bytes | None) -> PairEncoder:
    return PairEncoder(settings.model_copy(update={"precision": "auto"}), state=state, device="cpu")
