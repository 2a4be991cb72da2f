from dataclasses import replace

import pytest

from xmr_ray.corpus.open import PairedCorpus
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


def test_source_that_breaks_off_leaves_no_corpus_and_keeps_whole_parts(tmp_path):
    source = SMALL.read()

    def breaks(split, start, stop):
        if start == 200:
            raise RuntimeError("the outside world")
        yield from source.read(split, start, stop)

    with pytest.raises(RuntimeError, match="the outside world"):
        ingest(replace(source, read=breaks), str(tmp_path / "c"), rows_per_file=100)
    with pytest.raises(CorpusError, match="no corpus here"):
        PairedCorpus.open(str(tmp_path / "c"))
    assert [path.name for path in sorted((tmp_path / "c" / "train").iterdir())] == ["pairs-00000.parquet", "pairs-00001.parquet"]
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "c" / "train").iterdir()}
    corpus = ingest(source, str(tmp_path / "c"), rows_per_file=100)
    assert corpus.num_pairs("train") == 300
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert corpus.fingerprint == ingest(source, str(tmp_path / "d"), rows_per_file=100).fingerprint


def test_damaged_corpus_is_not_taken_for_complete(tmp_path):
    ingest(SMALL.read(), str(tmp_path / "c"))
    (tmp_path / "c" / "train" / "pairs-00000.parquet").unlink()
    with pytest.raises(CorpusError, match="is missing"):
        ingest(SMALL.read(), str(tmp_path / "c"))
