"""The first purchase: a bounded sample of candidates, drawn by hash, is gathered in one task and a seed strategy chooses from it."""

import numpy as np
import ray

from xmr_ray.cluster.score import unwrap
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.stream import RowGroupReader, prefetch
from xmr_ray.strategies.typical import Typical
from xmr_ray.types import Selection


def choose_typical(corpus: PairedCorpus, strategy: Typical, *, n: int, seed: int) -> Selection:
    """The typical pairs among the candidates; only their features are kept in memory."""
    chosen = strategy.draw_candidates(corpus.pair_ids("train"), n=n, seed=seed)
    ids, images, texts = [], [], []
    for _, batch in prefetch(RowGroupReader(corpus), corpus.descriptors("train")):
        rows = np.flatnonzero(np.isin(batch.pair_ids_B, chosen))
        ids.append(batch.pair_ids_B[rows])
        images.append(batch.images()[rows])
        texts.append(batch.texts()[rows])
    return strategy.place(np.concatenate(ids), np.concatenate(images), np.concatenate(texts), n=n, seed=seed)


def choose_typical_remotely(corpus: PairedCorpus, strategy: Typical, *, n: int, seed: int) -> Selection:
    """As `choose_typical`, in a task: candidates do not pass through the driver."""
    try:
        selection: Selection = ray.get(_choose.remote(corpus, strategy, n, seed))
    except ray.exceptions.RayTaskError as error:
        raise unwrap(error) from error
    return selection


@ray.remote
def _choose(corpus: PairedCorpus, strategy: Typical, n: int, seed: int) -> Selection:
    return choose_typical(corpus, strategy, n=n, seed=seed)
