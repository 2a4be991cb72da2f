"""The only way to truth: for the oracle and the evaluation, nobody else."""

import numpy as np

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.errors import CorpusError
from xmr_ray.storage import join, read_table
from xmr_ray.types import LabelSet, Split


def has_truth(corpus: PairedCorpus, split: Split) -> bool:
    """Whether the corpus holds the true labels of a split; opens no file."""
    return bool(corpus.manifest.truth.get(split))


def open_truth(corpus: PairedCorpus, split: Split) -> LabelSet:
    """The true labels of every pair of a split, ascending by id.

    Raises:
        CorpusError: the corpus holds no truth for the split, or labels outside its classes.
        StorageError: a truth file is damaged.
    """
    if not has_truth(corpus, split):
        raise CorpusError(f"{corpus.path}: no truth for split {split!r}; label it by people or evaluate with R@k")
    ids, lengths, classes = [], [], []
    for entry in corpus.manifest.truth[split]:
        table = read_table(join(corpus.root, entry.file)).combine_chunks()
        labels = table.column("labels").combine_chunks()
        ids.append(table.column("pair_id").to_numpy())
        lengths.append(np.diff(labels.offsets.to_numpy()).astype(np.int64))
        classes.append(labels.flatten().to_numpy().astype(np.int32))
        outside = np.flatnonzero((classes[-1] < 0) | (classes[-1] >= corpus.schema.num_classes))
        if len(outside):
            at = int(np.searchsorted(np.cumsum(lengths[-1]), outside[0], side="right"))
            file, label, num_classes = join(corpus.root, entry.file), classes[-1][outside[0]], corpus.schema.num_classes
            raise CorpusError(f"{file}: row {at} (pair_id {ids[-1][at]}): label {label} is outside the {num_classes} classes; run `xmr-ray doctor`")
    return _ascending(np.concatenate(ids), np.concatenate(lengths), np.concatenate(classes))


def _ascending(ids: np.ndarray, lengths: np.ndarray, classes: np.ndarray) -> LabelSet:
    order = np.argsort(ids, kind="stable")
    starts = (np.cumsum(lengths) - lengths)[order]
    offsets = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
    source = np.repeat(starts - offsets[:-1], lengths[order]) + np.arange(offsets[-1])
    return LabelSet(ids[order], offsets, classes[source])
