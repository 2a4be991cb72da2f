from dataclasses import replace

import pytest

from xmr_ray.errors import CorpusError
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import SyntheticReader

SMALL = SyntheticReader(num_train=300, num_validation=20, num_test=30, image_dim=5, text_dim=4)


def test_row_groups_and_files_are_cut_as_asked(tmp_path):
    corpus = ingest(SMALL.read(), str(tmp_path / "c"), rows_per_file=200)
    assert [entry.row_groups for entry in corpus.manifest.splits["train"]] == [(128, 72), (100,)]


def test_another_source_does_not_replace_a_corpus(tmp_path):
    first = ingest(SMALL.read(), str(tmp_path / "c"))
    with pytest.raises(CorpusError, match="a finished corpus lies here"):
        ingest(SMALL.model_copy(update={"seed": 9}).read(), str(tmp_path / "c"))
    assert ingest(SMALL.read(), str(tmp_path / "c")).fingerprint == first.fingerprint


def test_source_that_breaks_off_leaves_no_corpus(tmp_path):
    source = SMALL.read()

    def breaks():
        yield next(source.shards())
        raise RuntimeError("the outside world")

    with pytest.raises(RuntimeError, match="the outside world"):
        ingest(replace(source, stream=breaks), str(tmp_path / "c"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert ingest(source, str(tmp_path / "c")).num_pairs("train") == 300


def test_damaged_corpus_is_not_taken_for_complete(tmp_path):
    ingest(SMALL.read(), str(tmp_path / "c"))
    (tmp_path / "c" / "train" / "pairs-00000.parquet").unlink()
    with pytest.raises(CorpusError, match="is missing"):
        ingest(SMALL.read(), str(tmp_path / "c"))
