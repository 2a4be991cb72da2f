import json
import os
import pickle

import numpy as np
import pytest

from xmr_ray.corpus.open import PairedCorpus, corpus_root
from xmr_ray.errors import CorpusError
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import SyntheticReader


def test_a_corpus_knows_itself(tiny_corpus):
    assert tiny_corpus.splits == ("train", "validation", "test")
    assert [tiny_corpus.num_pairs(split) for split in tiny_corpus.splits] == [600, 80, 160]
    assert (tiny_corpus.schema.image_dim, tiny_corpus.schema.text_dim, tiny_corpus.schema.num_classes) == (24, 16, 5)


def test_descriptors_cover_every_row_group_in_order(tiny_corpus):
    descriptors = tiny_corpus.descriptors("train")
    assert [d.num_rows for d in descriptors] == [64, 64, 64, 58, 64, 64, 64, 58, 64, 36]
    assert [(d.index, d.row_group) for d in descriptors][4] == (4, 0)
    assert descriptors[4].file == "train/pairs-00001.parquet"


def test_ids_lie_in_descriptor_order(tiny_corpus):
    expected = [pair_id for d in tiny_corpus.descriptors("train") for pair_id in tiny_corpus.read(d).pair_ids_B.tolist()]
    assert tiny_corpus.pair_ids("train").tolist() == expected
    assert len(set(expected)) == 600


def test_absent_split_is_empty(tmp_path):
    corpus = ingest(SyntheticReader(num_train=10, num_validation=0, num_test=0).read(), str(tmp_path / "c"))
    assert corpus.splits == ("train",)
    assert corpus.num_pairs("test") == 0
    assert corpus.descriptors("test") == ()
    assert len(corpus.pair_ids("test")) == 0


def test_pickle_is_small_and_reads(tiny_corpus):
    data = pickle.dumps(tiny_corpus)
    assert len(data) < 10_000
    copy = pickle.loads(data)
    assert copy.fingerprint == tiny_corpus.fingerprint
    assert np.array_equal(copy.read(copy.descriptors("test")[0]).image_BI, tiny_corpus.read(tiny_corpus.descriptors("test")[0]).image_BI)


def test_missing_corpus_names_the_path(tmp_path):
    with pytest.raises(CorpusError, match=f"{tmp_path}: no corpus here"):
        PairedCorpus.open(str(tmp_path))


def test_missing_file_is_named(copy):
    (copy / "train" / "pairs-00001.parquet").unlink()
    with pytest.raises(CorpusError, match=r"train/pairs-00001\.parquet: is missing"):
        PairedCorpus.open(str(copy))


def test_truncated_file_is_named(copy):
    path = copy / "truth" / "test-00000.parquet"
    os.truncate(path, path.stat().st_size - 3)
    with pytest.raises(CorpusError, match=r"truth/test-00000\.parquet: has \d+ bytes, the manifest says"):
        PairedCorpus.open(str(copy))


def test_misaligned_shards_are_refused(copy):
    manifest = json.loads((copy / "corpus.json").read_text())
    manifest["truth"]["train"] = manifest["truth"]["train"][:2]
    (copy / "corpus.json").write_text(json.dumps(manifest))
    with pytest.raises(CorpusError, match="misaligned shards in split 'train'"):
        PairedCorpus.open(str(copy))


def test_changed_statistics_are_refused(copy):
    path = copy / "statistics.npz"
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"statistics\.npz: the bytes differ"):
        PairedCorpus.open(str(copy)).statistics()


def test_items_of_unknown_pair_name_it(tiny_corpus):
    with pytest.raises(CorpusError, match="no pair with pair_id 123456789"):
        tiny_corpus.items([int(tiny_corpus.pair_ids("test")[0]), 123456789])


def test_items_of_nothing(tiny_corpus):
    assert tiny_corpus.items([]) == {}


def test_plain_path_is_its_own_root():
    assert corpus_root("/some/where") == "/some/where"
