"""Bought labels that are never trained on: where a corpus has no truth of its test split, they are what retrieval is measured with."""

from xmr_ray.geometry.hashing import hash_fraction
from xmr_ray.types import LabelSet


def hold_out(labels: LabelSet, *, share: float, seed: int) -> tuple[LabelSet, LabelSet]:
    """The labels to train on, and about `share` of all that are held out.

    Each pair is decided by the hash of seed and `pair_id` alone, so a pair that is held out once is held out in every round.

    >>> train_on, held_out = hold_out(LabelSet.of(range(1000), [[0]] * 1000), share=0.2, seed=3)
    >>> len(train_on) + len(held_out), 150 < len(held_out) < 250
    (1000, True)
    """
    out_L = hash_fraction(labels.pair_ids_L, fraction=share, seed=seed, purpose="held out")
    return labels.take(labels.pair_ids_L[~out_L]), labels.take(labels.pair_ids_L[out_L])
