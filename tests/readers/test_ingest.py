import itertools
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.source import Source
from xmr_ray.corpus.truth import has_truth, open_truth
from xmr_ray.errors import CorpusError
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import SyntheticReader

SMALL = SyntheticReader(num_train=300, num_validation=20, num_test=30, image_dim=5, text_dim=4)
SCHEMA = CorpusSchema(image_dim=3, text_dim=2, class_names=("a", "b", "c", "d"), reader="r1")
SINGLE = SCHEMA.model_copy(update={"multi_label": False})


def records(start, stop, **changes):
    ids = np.arange(start, stop)
    fields = {
        "pair_ids": ids,
        "image": np.stack([ids, ids * 2.0, ids - 5.0], axis=1),
        "text": np.stack([ids * 0.5, -ids], axis=1),
        "labels": [[i % 4] for i in ids],
    }
    return PairRecords(**{**fields, **changes})


def write(path, *batches, schema=SCHEMA, **options):
    return ingest(Source.of(schema, batches), str(path), **options)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 50), max_size=5))
def test_batch_sizes_change_nothing(tmp_path_factory, cuts):
    root = tmp_path_factory.mktemp("write")
    edges = [0, *sorted(cuts), 50]
    whole = write(root / "whole", ("train", records(0, 50)), rows_per_file=20, row_group_rows=8)
    pieces = [("train", records(start, stop)) for start, stop in itertools.pairwise(edges)]
    assert write(root / "pieces", *pieces, rows_per_file=20, row_group_rows=8).fingerprint == whole.fingerprint


def test_interleaved_splits_are_kept_apart(tmp_path):
    batches = [("test", records(90, 95)), ("train", records(0, 5)), ("validation", records(50, 52)), ("train", records(5, 9))]
    corpus = write(tmp_path / "c", *batches)
    assert corpus.splits == ("train", "validation", "test")
    assert corpus.pair_ids("train").tolist() == list(range(9))
    assert corpus.pair_ids("test").tolist() == list(range(90, 95))


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_features_and_labels_come_back(tmp_path, dtype):
    schema = SCHEMA.model_copy(update={"image_dtype": dtype, "text_dtype": dtype})
    corpus = write(tmp_path / "c", ("train", records(0, 30)), schema=schema, row_group_rows=16)
    batches = [corpus.read(descriptor) for descriptor in corpus.descriptors("train")]
    assert [len(batch) for batch in batches] == [16, 14]
    # whole and half numbers below 64 are exact in every storage type
    assert np.array_equal(np.concatenate([batch.images() for batch in batches]), records(0, 30).image)
    assert np.array_equal(np.concatenate([batch.texts() for batch in batches]), records(0, 30).text)
    assert open_truth(corpus, "train").dense([5, 2], num_classes=4).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_statistics_are_those_of_the_stored_train_split(tmp_path):
    schema = SCHEMA.model_copy(update={"image_dtype": "bf16"})
    image = np.random.default_rng(0).normal(3, 2, size=(40, 3))
    corpus = write(tmp_path / "c", ("train", records(0, 40, image=image)), ("test", records(60, 90)), schema=schema, row_group_rows=16)
    stored = np.concatenate([corpus.read(descriptor).images() for descriptor in corpus.descriptors("train")]).astype(np.float64)
    found = corpus.statistics()
    np.testing.assert_allclose(found.image_mean_I, stored.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.image_std_I, stored.std(axis=0), rtol=1e-6)
    assert found.image_mean_I.dtype == np.float32


def test_layout_is_the_law(tmp_path):
    write(tmp_path / "c", ("train", records(0, 50)), rows_per_file=32, row_group_rows=16)
    file = pq.ParquetFile(tmp_path / "c" / "train" / "pairs-00000.parquet", page_checksum_verification=True)
    assert [str(field.type) for field in file.schema_arrow] == ["int64", "fixed_size_binary[12]", "fixed_size_binary[8]"]
    assert file.schema_arrow.field("image").metadata[b"dtype"] == b"f32"
    assert [file.metadata.row_group(i).num_rows for i in range(2)] == [16, 16]
    column = file.metadata.row_group(0).column(1)
    assert (column.compression, column.has_dictionary_page, column.is_stats_set) == ("UNCOMPRESSED", False, False)
    names = {path.relative_to(tmp_path / "c").as_posix() for path in (tmp_path / "c").rglob("*") if path.is_file()}
    parts = {name.format(i) for name in ("train/pairs-0000{}.parquet", "truth/train-0000{}.parquet", "parts/train-0000{}.json") for i in range(2)}
    assert names == {"corpus.json", "statistics.npz", "parts/lock", *parts}


def test_items_come_back(tmp_path):
    schema = SCHEMA.model_copy(update={"has_captions": True, "has_uris": True, "has_thumbnails": True})
    batch = records(0, 3, captions=["zero", None, "two"], uris=["u0", "u1", None], thumbnails=[b"0", None, b"2"])
    corpus = write(tmp_path / "c", ("train", batch), schema=schema)
    items = corpus.items([2, 1])
    assert (items[2].caption, items[2].uri, items[2].thumbnail) == ("two", None, b"2")
    assert (items[1].caption, items[1].uri, items[1].thumbnail) == (None, "u1", None)


def test_split_without_labels_has_no_truth(tmp_path):
    corpus = write(tmp_path / "c", ("train", records(0, 5, labels=None)), ("test", records(5, 9)))
    assert not has_truth(corpus, "train")
    assert has_truth(corpus, "test")


def nan_at(row, dim):
    image = records(0, 20).image.copy()
    image[row, dim] = np.nan
    return image


BAD = {
    "NaN": (records(0, 20, image=nan_at(13, 2)), r"train row 13 \(pair_id 13\): image\[2\] is nan, expected finite"),
    "repeated id": (records(0, 20, pair_ids=np.array([*range(19), 4])), r"train row 19 \(pair_id 4\): pair_id is repeated"),
    "label outside": (records(0, 20, labels=[[0]] * 17 + [[1, 4]] + [[0]] * 2), r"train row 17 \(pair_id 17\): label 4 is outside the 4 classes"),
    "negative label": (records(0, 20, labels=[[-1]] * 20), r"row 0 \(pair_id 0\): label -1 is outside"),
    "class twice": (records(0, 20, labels=[[2, 2]] * 20), "name a class twice"),
    "wrong width": (records(0, 20, image=np.ones((20, 4))), r"image features have shape \(4, 4\), expected \(4, 3\)"),
    "too few labels": (records(0, 20, labels=[[0]]), "1 labels for 4 pairs"),
    "unknown column": (records(0, 20, captions=["x"] * 20), "has_captions=False"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_records_are_named_and_leave_no_corpus(tmp_path, case):
    batch, message = BAD[case]
    with pytest.raises(CorpusError, match=message):
        write(tmp_path / "c", ("train", batch), rows_per_file=8, row_group_rows=4)
    assert not (tmp_path / "c" / "corpus.json").exists()


def test_row_is_counted_within_the_split(tmp_path):
    image = records(30, 40).image.copy()
    image[1, 0] = np.inf
    with pytest.raises(CorpusError, match=r"test row 11 \(pair_id 31\): image\[0\] is inf"):
        write(tmp_path / "c", ("train", records(0, 20)), ("test", records(20, 30)), ("test", records(30, 40, image=image)))


def test_value_too_large_for_half_precision_is_refused(tmp_path):
    schema = SCHEMA.model_copy(update={"image_dtype": "f16"})
    image = records(0, 9).image
    image[6, 1] = 70000.0
    with pytest.raises(CorpusError, match=r"train row 6 \(pair_id 6\): image feature 70000.0 does not fit f16"):
        write(tmp_path / "c", ("train", records(0, 9, image=image)), schema=schema)


def test_id_repeated_across_splits_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"test row 0 \(pair_id 3\): pair_id is repeated"):
        write(tmp_path / "c", ("train", records(0, 20)), ("test", records(3, 4)))


def test_labels_for_some_batches_only_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="labels for some pairs of 'train' only"):
        write(tmp_path / "c", ("train", records(0, 2)), ("train", records(2, 4, labels=None)))


def test_single_label_corpus_wants_one_label_each(tmp_path):
    with pytest.raises(CorpusError, match=r"row 1 \(pair_id 1\): 2 labels, but the corpus is single-label"):
        write(tmp_path / "c", ("train", records(0, 2, labels=[[0], [1, 2]])), schema=SINGLE)


def test_empty_train_split_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="split 'train' is empty"):
        write(tmp_path / "c", ("train", records(0, 0)), ("test", records(0, 5)))
    assert not (tmp_path / "c" / "corpus.json").exists()


@pytest.mark.parametrize("options", [{"rows_per_file": 0}, {"row_group_rows": 0}])
def test_sizes_below_one_are_refused(tmp_path, options):
    with pytest.raises(CorpusError, match="must be at least 1"):
        write(tmp_path / "c", ("train", records(0, 5)), **options)


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
