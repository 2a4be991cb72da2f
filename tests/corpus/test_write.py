import itertools

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.truth import has_truth, open_truth
from xmr_ray.corpus.write import CorpusWriter, is_complete, suggest_row_group
from xmr_ray.errors import CorpusError

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
    with CorpusWriter(str(path), schema, **options) as writer:
        for split, batch in batches:
            writer.write(split, batch)
    return PairedCorpus.open(str(path))


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
    pairs = {f"train/pairs-0000{i}.parquet" for i in range(2)}
    assert names == {"corpus.json", "statistics.npz", *pairs, "truth/train-00000.parquet", "truth/train-00001.parquet"}


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
    "wrong width": (records(0, 20, image=np.ones((20, 4))), r"image features have shape \(20, 4\), expected \(20, 3\)"),
    "too few labels": (records(0, 20, labels=[[0]]), "1 labels for 20 pairs"),
    "unknown column": (records(0, 20, captions=["x"] * 20), "has_captions=False"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_records_are_named_and_leave_no_corpus(tmp_path, case):
    batch, message = BAD[case]
    with pytest.raises(CorpusError, match=message):
        write(tmp_path / "c", ("train", batch), rows_per_file=8, row_group_rows=4)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


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
    with pytest.raises(CorpusError, match="labels for some pairs only"):
        write(tmp_path / "c", ("train", records(0, 2)), ("train", records(2, 4, labels=None)))


def test_single_label_corpus_wants_one_label_each(tmp_path):
    with pytest.raises(CorpusError, match=r"row 1 \(pair_id 1\): 2 labels, but the corpus is single-label"):
        write(tmp_path / "c", ("train", records(0, 2, labels=[[0], [1, 2]])), schema=SINGLE)


def test_empty_train_split_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="split 'train' is empty"):
        write(tmp_path / "c", ("train", records(0, 0)), ("test", records(0, 5)))
    assert not (tmp_path / "c" / "corpus.json").exists()


def test_finished_corpus_is_not_overwritten(tmp_path):
    corpus = write(tmp_path / "c", ("train", records(0, 5)))
    with pytest.raises(CorpusError, match="a finished corpus lies here"):
        CorpusWriter(str(tmp_path / "c"), SCHEMA)
    assert PairedCorpus.open(str(tmp_path / "c")).fingerprint == corpus.fingerprint


def test_leftovers_of_a_killed_writer_do_not_matter(tmp_path):
    killed = CorpusWriter(str(tmp_path / "c"), SCHEMA, rows_per_file=4, row_group_rows=2)
    killed.write("train", records(0, 11))
    assert not is_complete(str(tmp_path / "c"), SCHEMA)
    corpus = write(tmp_path / "c", ("train", records(0, 5)))
    assert corpus.num_pairs("train") == 5
    killed.abort()


def test_complete_means_the_same_schema(tmp_path):
    write(tmp_path / "c", ("train", records(0, 5)))
    assert is_complete(str(tmp_path / "c"), SCHEMA)
    assert not is_complete(str(tmp_path / "c"), SCHEMA.model_copy(update={"reader": "r2"}))


@pytest.mark.parametrize("options", [{"rows_per_file": 0}, {"row_group_rows": -1}])
def test_sizes_below_one_are_refused(tmp_path, options):
    with pytest.raises(CorpusError, match="must be at least 1"):
        CorpusWriter(str(tmp_path / "c"), SCHEMA, **options)


@given(st.integers(1, 10**6))
def test_suggested_row_group_is_the_largest_that_gives_eight(num_rows):
    size = suggest_row_group(num_rows)
    lawful = [power for power in (128, 256, 512, 1024, 2048, 4096) if -(-num_rows // power) >= 8]
    assert size == max(lawful, default=128)
