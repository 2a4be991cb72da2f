"""Corpora of an experiment: from outside data by its reader, and from raw pairs by its encoders."""

import logging
import os

import torch

from xmr_ray import storage
from xmr_ray.cluster.ingest import write_corpus
from xmr_ray.config import Experiment
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.raw_corpus import RawCorpus
from xmr_ray.corpus.schema import RAW_MANIFEST_FILE
from xmr_ray.corpus.source import RawSource, Source
from xmr_ray.encoders.source import encoded_source
from xmr_ray.errors import ConfigError, ReaderError, ResourceError
from xmr_ray.readers import Reader

log = logging.getLogger(__name__)


def ingest_corpus(experiment: Experiment, *, retry_failed: bool = False) -> PairedCorpus | RawCorpus:
    """Write the outside dataset: features as the corpus, raw pairs beside it until `embed_corpus` encodes them.

    Raises:
        ConfigError: no reader is configured.
        CorpusError: the dataset cannot be read, or parts of it failed; what is written is kept.
    """
    settings = experiment.corpus
    if settings.reader is None:
        raise ConfigError(f"corpus.reader is not set, there is nothing to ingest; corpus {settings.path!r} is used as it is")
    return _write(experiment, settings.reader.read(), retry_failed=retry_failed)


def _write(experiment: Experiment, source: Source | RawSource, *, retry_failed: bool) -> PairedCorpus | RawCorpus:
    settings = experiment.corpus
    path = storage.absolute(settings.raw if isinstance(source, RawSource) else settings.path)
    return write_corpus(source, path, settings, experiment.resources, retry_failed=retry_failed)


def embed_corpus(experiment: Experiment, *, retry_failed: bool = False) -> PairedCorpus:
    """Encode raw pairs into the corpus; they are ingested first if they are not there yet, and must be those of `corpus.reader` if they are.

    Raises:
        ConfigError: no encoders are configured, or the reader gives features, which need none.
        ResourceError: a GPU is asked for and there is none.
        CorpusError: more pairs than `max_rejects` could not be used, or parts failed; what is written is kept.
    """
    settings, resources = experiment.corpus, experiment.resources
    if settings.encoders is None:
        raise ConfigError("corpus.encoders is not set; say with what images and texts become features, see configs/")
    raw_path = storage.absolute(settings.raw)
    if settings.reader is not None:
        source = _outside(settings.reader, raw_path)
        if not isinstance(source, RawSource):
            raise ConfigError(f"corpus.reader {settings.reader.kind!r} gives features, which need no encoders; `xmr-ray ingest` is all that it takes")
        _write(experiment, source, retry_failed=retry_failed)
    raw = RawCorpus.open(raw_path)
    if resources.use_gpu and not (resources.address or os.environ.get("RAY_ADDRESS")) and not torch.cuda.is_available():
        raise ResourceError("resources.use_gpu is true, but this machine has no GPU that torch can use; set it to false")
    state = settings.encoders.text.fit(raw.texts("train"))
    source = encoded_source(raw, settings.encoders, state=state, use_gpu=resources.use_gpu)
    path, limit = storage.absolute(settings.path), settings.encoders.max_rejects
    corpus = write_corpus(source, path, settings, resources, retry_failed=retry_failed, max_rejects=limit)
    assert isinstance(corpus, PairedCorpus)
    return corpus


def _outside(reader: Reader, raw_path: str) -> Source | RawSource:
    try:
        return reader.read()
    except ReaderError as error:
        if not storage.exists(storage.join(raw_path, RAW_MANIFEST_FILE)):
            raise
        raise ReaderError(f"{error}; or leave corpus.reader out (corpus.reader=null): the raw pairs at {raw_path} are complete") from error
