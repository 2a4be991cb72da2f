import numpy as np
import pytest

from xmr_ray.corpus.check import check_corpus
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.parts import plan_parts, write_part
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.sinks import PairSink, RawSink, finish_corpus, finish_raw
from xmr_ray.errors import CorpusError

SCHEMA = CorpusSchema(image_dim=3, text_dim=2, class_names=("a", "b"), has_captions=True)
RAW = RawSchema(class_names=("a", "b"), has_labels=True)


def pairs(start, stop, labels=True):
    rng = np.random.default_rng(start)
    rows = stop - start
    image = rng.normal(5, 2, (rows, 3)).astype(np.float32)
    return PairRecords(np.arange(start, stop), image, image[:, 1:], [[1]] * rows if labels else None, [f"c{i}" for i in range(start, stop)])


def written(root, spans, labels=True):
    reports, parts = [], plan_parts({split: stop - start for split, (start, stop) in spans.items()}, rows_per_file=6)
    for part in parts:
        first = spans[part.split][0]
        batch = pairs(first + part.start, first + part.stop, labels if isinstance(labels, bool) else labels(part))
        reports.append(write_part(str(root), part, [batch], sink=PairSink(str(root), part, SCHEMA), version="v", row_group_rows=4))
    return reports


def test_parts_joined_are_a_sound_corpus_with_the_statistics_of_all_training_rows(tmp_path):
    spans = {"train": (0, 20), "test": (20, 27)}
    manifest = finish_corpus(str(tmp_path), SCHEMA, written(tmp_path, spans))
    corpus = PairedCorpus.open(str(tmp_path))
    assert check_corpus(str(tmp_path)).ok
    assert corpus.fingerprint == manifest.fingerprint
    assert (corpus.num_pairs("train"), corpus.num_pairs("test")) == (20, 7)
    image = np.concatenate([pairs(start, min(start + 6, 20)).image for start in range(0, 20, 6)]).astype(np.float64)
    np.testing.assert_allclose(corpus.statistics().image_mean_I, image.mean(0), rtol=1e-6)
    np.testing.assert_allclose(corpus.statistics().image_std_I, image.std(0), rtol=1e-6)


def test_files_of_an_earlier_cut_are_removed(tmp_path):
    stray = tmp_path / "train" / "pairs-00099.parquet"
    reports = written(tmp_path, {"train": (0, 8)})
    stray.write_bytes(b"x")
    (tmp_path / "parts" / "train-00099.json").write_bytes(b"x")
    (tmp_path / "rejects").mkdir()
    (tmp_path / "rejects" / "train-00099.jsonl").write_bytes(b"x")
    finish_corpus(str(tmp_path), SCHEMA, reports)
    assert not stray.exists()
    assert not list((tmp_path / "rejects").iterdir())
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["train-00000.json", "train-00001.json"]


def test_truth_for_some_parts_only_and_no_training_pair_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="labels for some pairs of 'train' only"):
        finish_corpus(str(tmp_path / "a"), SCHEMA, written(tmp_path / "a", {"train": (0, 8)}, labels=lambda part: part.index == 0))
    with pytest.raises(CorpusError, match="split 'train' is empty"):
        finish_corpus(str(tmp_path / "b"), SCHEMA, written(tmp_path / "b", {"test": (0, 8)}))
    part, batches = plan_parts({"train": 4}, rows_per_file=6)[0], [pairs(0, 2), pairs(2, 4, labels=False)]
    with pytest.raises(CorpusError, match="labels for some pairs of 'train' only"):
        write_part(str(tmp_path / "c"), part, batches, sink=PairSink(str(tmp_path / "c"), part, SCHEMA), version="v", row_group_rows=2)
    assert not (tmp_path / "a" / "corpus.json").exists()


def test_raw_parts_are_joined(tmp_path):
    parts, reports = plan_parts({"train": 5}, rows_per_file=3), []
    for part in parts:
        ids = np.arange(part.start, part.stop)
        batch = RawRecords(ids, [f"t{i}" for i in ids], [f"/{i}.jpg" for i in ids], None, [[0, 1]] * len(ids))
        reports.append(write_part(str(tmp_path), part, [batch], sink=RawSink(str(tmp_path), RAW), version="v", row_group_rows=2))
    manifest = finish_raw(str(tmp_path), RAW, reports)
    assert [entry.rows for entry in manifest.splits["train"]] == [3, 2]
    with pytest.raises(CorpusError, match="split 'train' is empty"):
        finish_raw(str(tmp_path), RAW, [])
