"""From an outside dataset to a corpus on disk."""

import logging

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.write import CorpusWriter, is_complete
from xmr_ray.readers.source import Source

logger = logging.getLogger(__name__)


def ingest(source: Source, path: str, *, rows_per_file: int = 65536) -> PairedCorpus:
    """Write a source as a corpus; does nothing if the finished corpus of this very source is already there.

    Raises:
        CorpusError: another corpus lies at `path`, or the source holds what must not be in a corpus; then no corpus is left.
    """
    if is_complete(path, source.schema):
        corpus = PairedCorpus.open(path)
        logger.info("corpus complete path=%s fingerprint=%s", path, corpus.fingerprint[:12])
        return corpus
    with CorpusWriter(path, source.schema, rows_per_file=rows_per_file, row_group_rows=source.row_group_rows) as writer:
        for split, records in source.shards():
            writer.write(split, records)
    return PairedCorpus.open(path)
