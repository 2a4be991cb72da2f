import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from xmr_ray.corpus.truth import has_truth, open_truth
from xmr_ray.errors import CorpusError, ReaderError
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.parquet import ParquetReader
from xmr_ray.readers.synthetic import SyntheticReader


def full(folder, **changes):
    settings = {"path": str(folder), "split_column": "part", "pair_id": "key", "labels": "tags", "caption": "title"}
    return ParquetReader(**{**settings, **changes})


def test_rows_go_where_the_split_column_says(parquet_folder, tmp_path):
    corpus = ingest(full(parquet_folder).read(), str(tmp_path / "c"))
    assert corpus.pair_ids("train").tolist() == [100 + i for i in range(70) if i % 4 < 2]
    assert corpus.pair_ids("validation").tolist() == [100 + i for i in range(70) if i % 4 == 2]
    assert corpus.pair_ids("test").tolist() == [100 + i for i in range(70) if i % 4 == 3]


def test_everything_of_a_row_comes_through(parquet_folder, tmp_path):
    corpus = ingest(full(parquet_folder).read(), str(tmp_path / "c"))
    assert (corpus.schema.image_dtype, corpus.schema.text_dtype, corpus.schema.multi_label) == ("f32", "f16", True)
    assert corpus.schema.class_names == ("bus", "cat", "dog", "sky")
    batch = corpus.read(corpus.descriptors("validation")[0])
    assert batch.images()[9].tolist() == [38.0, 0.5, 0.5, 0.5]
    assert batch.texts()[9].tolist() == [-38.0, 1.0]
    assert open_truth(corpus, "test").take([100 + 35]).classes.tolist() == [0, 3]
    assert corpus.items([100 + 35])[135].caption == "title 35"


@pytest.mark.parametrize("batch_rows", [1, 7, 4096])
def test_batch_size_changes_nothing(parquet_folder, tmp_path, batch_rows):
    expected = ingest(full(parquet_folder).read(), str(tmp_path / "one"))
    assert ingest(full(parquet_folder, batch_rows=batch_rows).read(), str(tmp_path / "other")).fingerprint == expected.fingerprint


def test_one_path_per_split_and_ids_by_order(parquet_folder, tmp_path):
    reader = ParquetReader(splits={"test": f"{parquet_folder}/part-0.parquet", "train": f"{parquet_folder}/part-2.parquet"}, dtype="bf16")
    corpus = ingest(reader.read(), str(tmp_path / "c"))
    assert corpus.pair_ids("train").tolist() == list(range(40))
    assert corpus.pair_ids("test").tolist() == list(range(40, 65))
    assert corpus.schema.image_dtype == "bf16"
    assert not has_truth(corpus, "train")


def test_path_alone_is_all_train(parquet_folder, tmp_path):
    assert ingest(ParquetReader(path=str(parquet_folder)).read(), str(tmp_path / "c")).num_pairs("train") == 70


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_pair_files_of_a_corpus_are_understood_without_settings(tmp_path, dtype):
    first = ingest(SyntheticReader(num_train=300, num_validation=0, num_test=0, dtype=dtype).read(), str(tmp_path / "first"))
    second = ingest(ParquetReader(path=f"{first.path}/train", pair_id="pair_id").read(), str(tmp_path / "second"))
    assert second.schema.image_dtype == dtype
    for one, other in zip(first.descriptors("train"), second.descriptors("train"), strict=True):
        assert np.array_equal(first.read(one).image_BI, second.read(other).image_BI)


def one_file(tmp_path, **columns):
    table = {"image": [[1.0, 2.0]] * 3, "text": [[1.0]] * 3, **columns}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    return str(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    "column", [pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(6, dtype=np.float32).reshape(3, 2)), pa.array([[0, 1], [2, 3], [4, 5]])]
)
def test_tensors_and_whole_numbers_are_features(tmp_path, column):
    source = ParquetReader(path=one_file(tmp_path, image=column)).read()
    assert next(source.shards())[1].image.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_bytes_without_a_type_need_a_setting(tmp_path):
    path = one_file(tmp_path, image=pa.array([b"\x00\x3c\x00\x40"] * 3, type=pa.binary(4)))
    with pytest.raises(ReaderError, match="set binary_dtype"):
        ParquetReader(path=path).read()
    source = ParquetReader(path=path, binary_dtype="f16").read()
    assert next(source.shards())[1].image[0].tolist() == [1.0, 2.0]


def test_file_that_moved_is_the_same_and_a_changed_one_is_not(tmp_path):
    path = one_file(tmp_path)
    before = ParquetReader(path=path, source="s").read().schema
    (tmp_path / "x.parquet").rename(tmp_path / "y.parquet")
    assert ParquetReader(path=str(tmp_path / "y.parquet"), source="s").read().schema == before
    assert ParquetReader(path=one_file(tmp_path, text=[[2.0]] * 3), source="s").read().schema != before


@pytest.mark.parametrize("settings", [{}, {"path": "a", "splits": {"train": "b"}}, {"splits": {"train": "b"}, "split_column": "s"}])
def test_contradicting_ways_to_splits_are_refused(settings):
    with pytest.raises(ValidationError):
        ParquetReader(**settings)


def test_wrong_dims_between_shards_name_the_file(parquet_folder, parquet_table, tmp_path):
    pq.write_table(parquet_table(70, 80, width=5), parquet_folder / "part-3.parquet")
    with pytest.raises(ReaderError, match=r"part-3\.parquet: from row 0, image: row 0 holds 5 numbers, expected 4; all files must agree"):
        ingest(full(parquet_folder).read(), str(tmp_path / "c"))


def test_missing_paths_and_columns_are_named(parquet_folder, tmp_path):
    with pytest.raises(ReaderError, match="nowhere: no such file or folder"):
        ParquetReader(path=str(tmp_path / "nowhere")).read()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReaderError, match=r"empty: no \.parquet file"):
        ParquetReader(path=str(tmp_path / "empty")).read()
    with pytest.raises(ReaderError, match=r"part-0\.parquet: no column 'picture'; it has key, image"):
        full(parquet_folder, image="picture").read()


def test_unknown_split_word_is_named(parquet_folder, tmp_path):
    with pytest.raises(ReaderError, match="split 'title 0' in column 'title'"):
        full(parquet_folder, split_column="title").read()


def test_broken_files_are_named(parquet_folder, tmp_path):
    (parquet_folder / "part-1.parquet").write_bytes(b"x" * 100)
    with pytest.raises(ReaderError, match=r"part-1\.parquet: cannot be opened"):
        full(parquet_folder).read()


def test_file_without_rows_has_no_width(tmp_path):
    pq.write_table(pa.table({"image": pa.array([], pa.list_(pa.float32())), "text": pa.array([], pa.list_(pa.float32()))}), tmp_path / "x.parquet")
    with pytest.raises(ReaderError, match=r"x\.parquet: no rows"):
        ParquetReader(path=str(tmp_path / "x.parquet")).read()


@pytest.mark.parametrize(("image", "message"), [([1.0, 2.0, 3.0], "is double"), ([None, [1.0], [2.0]], "without nulls")])
def test_columns_that_hold_no_vectors_are_named(tmp_path, image, message):
    with pytest.raises(ReaderError, match=message):
        ParquetReader(path=one_file(tmp_path, image=image)).read()


def test_ids_must_be_whole_numbers(parquet_folder, tmp_path):
    with pytest.raises(ReaderError, match="ids are string"):
        ingest(full(parquet_folder, pair_id="title").read(), str(tmp_path / "c"))


def test_repeated_id_and_label_outside_stop_the_ingest(tmp_path):
    with pytest.raises(CorpusError, match=r"train row 2 \(pair_id 5\): pair_id is repeated"):
        ingest(ParquetReader(path=one_file(tmp_path, key=[5, 6, 5]), pair_id="key").read(), str(tmp_path / "c"))
    reader = ParquetReader(path=one_file(tmp_path, y=[0, 1, 2]), labels="y", class_names=("a", "b"))
    with pytest.raises(CorpusError, match=r"train row 2 \(pair_id 2\): label 2 is outside the 2 classes"):
        ingest(reader.read(), str(tmp_path / "c"))
