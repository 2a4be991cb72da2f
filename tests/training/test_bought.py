import numpy as np
import pytest

from xmr_ray.corpus.stream import RowGroupReader
from xmr_ray.errors import LedgerError
from xmr_ray.training.bought import gather_pairs
from xmr_ray.training.ranks import Ranks


def everything(corpus, split):
    batches = [corpus.read(descriptor) for descriptor in corpus.descriptors(split)]
    return {int(i): (x, t) for batch in batches for i, x, t in zip(batch.pair_ids_B, batch.images(), batch.texts(), strict=True)}


def test_rows_are_those_of_the_ids_in_ascending_order(tiny_corpus):
    truth = everything(tiny_corpus, "train")
    wanted = np.random.default_rng(0).permutation(list(truth))[:37]
    rows = gather_pairs(tiny_corpus, wanted, split="train", ranks=Ranks.single(), seed=0)
    assert rows.pair_ids_N.tolist() == sorted(wanted.tolist())
    for pair_id, image_I, text_T in zip(rows.pair_ids_N, rows.image_NI, rows.text_NT, strict=True):
        assert np.array_equal(image_I, truth[int(pair_id)][0])
        assert np.array_equal(text_T, truth[int(pair_id)][1])


def test_only_row_groups_that_hold_one_are_read(tiny_corpus, monkeypatch):
    second = tiny_corpus.descriptors("train")[1]
    ids = tiny_corpus.read(second).pair_ids_B[:2]
    read, original = [], RowGroupReader.read
    monkeypatch.setattr(RowGroupReader, "read", lambda self, descriptor: read.append(descriptor.index) or original(self, descriptor))
    gather_pairs(tiny_corpus, ids, split="train", ranks=Ranks.single(), seed=0)
    assert read == [1]


def test_an_id_of_another_split_is_named(tiny_corpus):
    wrong = int(tiny_corpus.pair_ids("test")[0])
    with pytest.raises(LedgerError, match=f"split 'train' holds no pair with pair_id {wrong}"):
        gather_pairs(tiny_corpus, [wrong, int(tiny_corpus.pair_ids("train")[0])], split="train", ranks=Ranks.single(), seed=0)
