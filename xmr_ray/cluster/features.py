"""Purchases from features alone: bounded samples of candidates and of bought pairs, drawn by hash, are gathered in one task, which chooses."""

import numpy as np
import ray

from xmr_ray.cluster.score import fetch
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.stream import RowGroupReader, prefetch
from xmr_ray.strategies.strategy import NO_PAIRS, FeatureStrategy
from xmr_ray.types import Ids, Selection


def choose_by_features(
    corpus: PairedCorpus, strategy: FeatureStrategy, *, n: int, seed: int, bought: Ids = NO_PAIRS, round_index: int = 0
) -> Selection:
    """The pairs that the strategy chooses among its candidates, given what is bought; only their features are kept in memory."""
    candidates = strategy.draw_candidates(corpus.pair_ids("train"), n=n, seed=seed, bought=bought, round_index=round_index)
    wanted = np.concatenate([candidates, strategy.draw_bought(bought, seed=seed, round_index=round_index)])
    ids, images, texts = [], [], []
    for _, batch in prefetch(RowGroupReader(corpus), corpus.descriptors("train")):
        rows = np.flatnonzero(np.isin(batch.pair_ids_B, wanted))
        ids.append(batch.pair_ids_B[rows])
        images.append(batch.images()[rows])
        texts.append(batch.texts()[rows])
    gathered = np.concatenate(ids), np.concatenate(images), np.concatenate(texts)
    return strategy.place(*gathered, n=n, seed=seed, bought=bought, round_index=round_index)


def choose_by_features_remotely(
    corpus: PairedCorpus, strategy: FeatureStrategy, *, n: int, seed: int, bought: Ids = NO_PAIRS, round_index: int = 0
) -> Selection:
    """As `choose_by_features`, in a task: candidates do not pass through the driver."""
    selection: Selection = fetch(_choose.remote(corpus, strategy, n, seed, bought, round_index))
    return selection


@ray.remote
def _choose(corpus: PairedCorpus, strategy: FeatureStrategy, n: int, seed: int, bought: Ids, round_index: int) -> Selection:
    return choose_by_features(corpus, strategy, n=n, seed=seed, bought=bought, round_index=round_index)
