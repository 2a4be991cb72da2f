"""The features of pairs whose labels are known, on every rank."""

import numpy as np
import torch

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.stream import RowGroupReader, prefetch
from xmr_ray.errors import LedgerError
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import HeldRows, as_tensor
from xmr_ray.types import Ids, Split


def gather_pairs(corpus: PairedCorpus, pair_ids: Ids, *, split: Split, ranks: Ranks, seed: int) -> HeldRows:
    """The rows of these pairs in ascending order of ids; ranks share the reading, and only row groups that hold one are read.

    Raises:
        LedgerError: an id is not in the split.
    """
    wanted = np.sort(np.asarray(pair_ids, dtype=np.int64))
    found_N = np.isin(corpus.pair_ids(split), wanted)
    descriptors = corpus.descriptors(split)
    ends = np.cumsum([descriptor.num_rows for descriptor in descriptors])
    holding = [d for d, end in zip(descriptors, ends, strict=True) if found_N[end - d.num_rows : end].any()][ranks.rank :: ranks.world]
    ids, images, texts = [np.empty(0, np.int64)], [torch.empty(0, corpus.schema.image_dim)], [torch.empty(0, corpus.schema.text_dim)]
    reader = RowGroupReader(corpus)
    for _, batch in prefetch(reader, holding):
        at = np.flatnonzero(np.isin(batch.pair_ids_B, wanted))
        ids.append(batch.pair_ids_B[at])
        images.append(as_tensor(batch.images()[at]))
        texts.append(as_tensor(batch.texts()[at]))
    reader.close()
    ids_L = ranks.gather_ragged(torch.from_numpy(np.concatenate(ids))).numpy()
    image_LI, text_LT = ranks.gather_ragged(torch.cat(images)), ranks.gather_ragged(torch.cat(texts))
    missing = np.setdiff1d(wanted, ids_L)
    if len(missing):
        raise LedgerError(f"{corpus.path}: split {split!r} holds no pair with pair_id {missing[0]}, whose labels were given for training")
    order = np.argsort(ids_L, kind="stable")
    at_L = torch.from_numpy(order)
    return HeldRows(ids_L[order], image_LI[at_L], text_LT[at_L], ranks=ranks, seed=seed)
