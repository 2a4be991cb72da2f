import json

import pyarrow as pa
import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.hf_dataset import HfDatasetReader

CLASS = {"names": ["cat", "dog", "bus"], "_type": "ClassLabel"}
FEATURES = {
    "image": {"_type": "Image"},
    "text": {"dtype": "string", "_type": "Value"},
    "label": CLASS,
    "tags": {"feature": CLASS, "_type": "Sequence"},
    "id": {"dtype": "int32", "_type": "Value"},
    "words": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
}


def rows(start, stop):
    return pa.table(
        {
            "image": pa.array([{"bytes": b"image %d" % i, "path": f"{i}.png"} for i in range(start, stop)]),
            "text": [f"text {i}" for i in range(start, stop)],
            "label": [i % 3 for i in range(start, stop)],
            "tags": [[2, 0][: i % 3] for i in range(start, stop)],
            "id": pa.array([100 + i for i in range(start, stop)], type=pa.int32()),
            "words": [["b", "a"][: 1 + i % 2] for i in range(start, stop)],
        }
    )


def save(folder, tables, *, batch_rows=2, features=FEATURES, **state):
    """One dataset as `Dataset.save_to_disk` writes it: Arrow streams, `state.json` and `dataset_info.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{i:05d}-of-{len(tables):05d}.arrow" for i in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=batch_rows)
    whole = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "1234", "_format_type": None, "_split": None, **state}
    (folder / "state.json").write_text(json.dumps(whole))
    (folder / "dataset_info.json").write_text(json.dumps({"citation": "", "description": "", "features": features, "homepage": "", "license": ""}))
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    for name, tables in {"train": [rows(0, 5), rows(5, 6), rows(6, 9)], "validation": [rows(9, 11)], "test": [rows(11, 14)]}.items():
        save(root / name, tables)
    (root / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    return root


def rows_of(source, split):
    found = []
    for records in source.read(split, 0, source.num_rows[split]):
        labels = records.labels or [None] * len(records)
        found += zip(records.pair_ids.tolist(), records.texts, records.uris, records.images, labels, strict=True)
    return found


SPANS = {"train": (0, 9), "validation": (9, 11), "test": (11, 14)}


@pytest.mark.parametrize(
    ("column", "of_row", "multi_label"),
    [(None, lambda i: None, True), ("label", lambda i: [i % 3], False), ("tags", lambda i: sorted([2, 0][: i % 3]), True)],
)
def test_splits_of_a_dataset_dict(folder, column, of_row, multi_label):
    source = HfDatasetReader(path=str(folder), labels=column).read()
    for split, (start, stop) in SPANS.items():
        assert rows_of(source, split) == [(i, f"text {i}", None, b"image %d" % i, of_row(i)) for i in range(start, stop)]
    assert source.schema.class_names == (("cat", "dog", "bus") if column else ())
    assert (source.schema.multi_label, source.schema.source) == (multi_label, "pictures")


def test_names_of_a_plain_list(folder):
    source = HfDatasetReader(path=str(folder), labels="words", pair_id="id").read()
    assert source.schema.class_names == ("a", "b")
    assert [(row[0], row[4]) for row in rows_of(source, "validation")] == [(109, [0, 1]), (110, [1])]


def test_list_of_classes_as_it_was_written_once(tmp_path):
    path = save(tmp_path / "d", [rows(0, 3)], features={**FEATURES, "tags": [CLASS]})
    assert HfDatasetReader(path=path, labels="tags").read().schema.class_names == ("cat", "dog", "bus")


def test_any_range_over_files_and_batches(folder):
    source = HfDatasetReader(path=str(folder)).read()
    for start in range(9):
        for stop in range(start, 10):
            assert [text for records in source.read("train", start, stop) for text in records.texts] == [f"text {i}" for i in range(start, stop)]


def test_single_dataset_with_drawn_splits(tmp_path):
    source = HfDatasetReader(path=save(tmp_path / "d", [rows(0, 6), rows(6, 10)]), num_test=3, num_validation=2).read()
    found = [row for split in source.num_rows for row in rows_of(source, split)]
    assert source.num_rows == {"train": 5, "validation": 2, "test": 3}
    assert sorted((row[0], row[1]) for row in found) == [(i, f"text {i}") for i in range(10)]


def test_splits_of_other_names(folder):
    (folder / "test").rename(folder / "query")
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "query"]}')
    with pytest.raises(ReaderError, match="split 'query' is neither train, validation nor test; say in splits"):
        HfDatasetReader(path=str(folder)).read()
    source = HfDatasetReader(path=str(folder), splits={"train": "train", "test": "query"}).read()
    assert source.num_rows == {"train": 9, "test": 3}
    with pytest.raises(ReaderError, match="no split 'gallery'; it has train, query"):
        HfDatasetReader(path=str(folder), splits={"train": "gallery"}).read()


def test_images_that_are_paths(tmp_path):
    structure = pa.array([{"bytes": None, "path": "/pictures/0.jpg"}], type=pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    for column in (structure, pa.array(["/pictures/0.jpg"])):
        table = pa.table({"image": column, "text": ["words"]})
        assert rows_of(HfDatasetReader(path=save(tmp_path / "d", [table])).read(), "train") == [(0, "words", "/pictures/0.jpg", None, None)]


def test_moved_dataset_is_the_same_and_another_is_not(folder, tmp_path):
    before = HfDatasetReader(path=str(folder), source="s").read().schema
    folder.rename(tmp_path / "there")
    assert HfDatasetReader(path=f"{tmp_path}/there", source="s").read().schema == before
    save(tmp_path / "there" / "test", [rows(11, 14)], _fingerprint="5678")
    assert HfDatasetReader(path=f"{tmp_path}/there", source="s").read().schema != before


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        (pa.table({"image": [b"x"], "text": [None]}), {}, "row 0: column 'text' holds None"),
        (pa.table({"image": [None], "text": ["t"]}), {}, "row 0: column 'image' has neither bytes nor path"),
        (pa.table({"image": [b"x"], "caption": ["t"]}), {}, "no column 'text'; it has image, caption"),
        (rows(0, 3).set_column(2, "label", [[0, -1, 1]]), {"labels": "label"}, "label: class -1; expected 0 to 2 .*has no label"),
        (rows(0, 3).set_column(2, "label", [[0, 3, 1]]), {"labels": "label"}, "label: class 3; expected 0 to 2"),
        (rows(0, 3).set_column(2, "label", [[0.5, 1.0, 2.0]]), {"labels": "label"}, "label: labels are double"),
        (rows(0, 3), {"pair_id": "text"}, "text: ids are string"),
        (rows(0, 0), {}, "no rows"),
        (rows(0, 3), {"num_test": 3}, "leave none to train"),
        (rows(0, 3), {"splits": {"train": "a"}}, "holds one dataset"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path, table, settings, message):
    path = save(tmp_path / "d", [table])
    with pytest.raises(ReaderError, match=message):
        list(HfDatasetReader(path=path, **settings).read().shards())


def test_drawing_beside_splits_is_refused(folder):
    with pytest.raises(ReaderError, match="do not go with splits train, validation, test"):
        HfDatasetReader(path=str(folder), num_test=2).read()


def test_every_way_to_cut_a_stream_is_noticed(tmp_path):
    path = save(tmp_path / "d", [rows(0, 5)])
    file = tmp_path / "d" / "data-00000-of-00001.arrow"
    whole = file.read_bytes()
    for kept in [0, *range(3, len(whole), 100), len(whole) - 8]:
        file.write_bytes(whole[:kept])
        with pytest.raises(ReaderError, match=r"data-00000-of-00001\.arrow: .*cut short"):
            HfDatasetReader(path=path).read()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("state.json", "{", r"state\.json: cannot be parsed"),
        ("state.json", "[]", r"state\.json: holds no JSON object"),
        ("state.json", '{"_indices_files": [{"filename": "i.arrow"}]}', "call flatten_indices"),
        ("state.json", '{"_data_files": [{"filename": "../../x.arrow"}]}', "lies outside of this folder"),
        ("state.json", '{"_data_files": [{"filename": "x.arrow"}]}', r"x\.arrow: cannot be read"),
        ("dataset_info.json", None, r"dataset_info\.json: is missing"),
        ("state.json", None, r"neither dataset_dict\.json nor state\.json"),
    ],
)
def test_damaged_folder(tmp_path, name, data, message):
    path = save(tmp_path / "d", [rows(0, 5)])
    if data is None:
        (tmp_path / "d" / name).unlink()
    else:
        (tmp_path / "d" / name).write_text(data)
    with pytest.raises(ReaderError, match=message):
        HfDatasetReader(path=path).read()


def test_folder_that_the_library_wrote(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string"), "label": datasets.ClassLabel(names=["cat", "dog"])})
    columns = {"image": [{"bytes": b"a", "path": None}, {"bytes": b"b", "path": None}], "text": ["one", "two"], "label": [1, 0]}
    whole = datasets.DatasetDict(train=datasets.Dataset.from_dict(columns, features=features))
    whole.save_to_disk(str(tmp_path / "d"))
    source = HfDatasetReader(path=f"{tmp_path}/d", labels="label").read()
    assert rows_of(source, "train") == [(0, "one", None, b"a", [1]), (1, "two", None, b"b", [0])]
    assert source.schema.class_names == ("cat", "dog")
