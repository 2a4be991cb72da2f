import numpy as np
import pyarrow as pa
import pytest

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import Source
from xmr_ray.corpus.truth import has_truth, open_truth
from xmr_ray.errors import CorpusError, StorageError
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import SyntheticReader


def test_truth_is_what_the_generator_knows(tiny_corpus):
    reader = SyntheticReader(
        num_train=600, num_validation=80, num_test=160, image_dim=24, text_dim=16, num_classes=5, latent_dim=6, num_clumps=4, seed=1
    )
    known = reader.latents("test", 0)
    assert open_truth(tiny_corpus, "test").dense(known.pair_ids_B, num_classes=5).tolist() == known.labels_BC.tolist()


def test_every_pair_of_a_split_and_no_other(tiny_single):
    truth = open_truth(tiny_single, "validation")
    assert truth.pair_ids_L.tolist() == sorted(tiny_single.pair_ids("validation").tolist())
    assert (truth.dense(truth.pair_ids_L, num_classes=5).sum(axis=1) == 1).all()


def test_ids_in_any_order_on_disk(tmp_path):
    schema = CorpusSchema(image_dim=1, text_dim=1, class_names=("a", "b", "c"))
    records = PairRecords(np.array([9, 2, 7, 4]), np.ones((4, 1)), np.ones((4, 1)), [[2, 0], [], [1], [0, 1, 2]])
    truth = open_truth(ingest(Source.of(schema, [("train", records)]), str(tmp_path / "c"), rows_per_file=2), "train")
    assert truth.pair_ids_L.tolist() == [2, 4, 7, 9]
    assert truth.offsets.tolist() == [0, 0, 3, 4, 6]
    assert truth.classes.tolist() == [0, 1, 2, 1, 0, 2]


def test_absent_truth_is_named(tmp_path):
    records = PairRecords(np.arange(3), np.ones((3, 1)), np.ones((3, 1)))
    corpus = ingest(Source.of(CorpusSchema(image_dim=1, text_dim=1), [("train", records)]), str(tmp_path / "c"))
    assert not has_truth(corpus, "train")
    with pytest.raises(CorpusError, match="no truth for split 'train'"):
        open_truth(corpus, "train")


def test_label_outside_the_classes_is_named(rewrite, copy):
    def outside(table):
        labels = table.column("labels").to_pylist()
        labels[20] = [1, 5]
        return table.set_column(1, "labels", pa.array(labels, type=pa.list_(pa.int32())))

    rewrite("truth/test-00000.parquet", outside)
    corpus = PairedCorpus.open(str(copy))
    pair_id = int(corpus.pair_ids("test")[20])
    with pytest.raises(CorpusError, match=rf"test-00000\.parquet: row 20 \(pair_id {pair_id}\): label 5 is outside the 5 classes"):
        open_truth(corpus, "test")


def test_damaged_truth_is_named(copy):
    path = copy / "truth" / "test-00000.parquet"
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"truth/test-00000\.parquet"):
        open_truth(PairedCorpus.open(str(copy)), "test")
