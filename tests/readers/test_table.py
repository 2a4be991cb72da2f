import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from xmr_ray.errors import ReaderError
from xmr_ray.readers.table import TableReader

RAW_SAMPLE = Path(__file__).parents[2] / "../shared/data/coco18_raw_sample/data.parquet"
ROWS = [
    {"file": "a/0.jpg", "title": "first", "tags": ["cat"], "part": "train", "key": 7},
    {"file": "1.png", "title": "second", "tags": ["dog", "cat"], "part": "test", "key": 5},
    {"file": "https://example.com/2.jpg", "title": "third, with comma", "tags": [], "part": "val", "key": 6},
    {"file": "/elsewhere/3.jpg", "title": "Überall", "tags": ["dog"], "part": "train", "key": 4},
]
COLUMNS = {"image": "file", "text": "title", "labels": "tags", "split_column": "part", "pair_id": "key"}


def save(path, rows=ROWS):
    if path.suffix == ".csv":
        lines = [",".join(rows[0])] + [",".join([r["file"], f'"{r["title"]}"', "|".join(r["tags"]), r["part"], str(r["key"])]) for r in rows]
        path.write_text("\n".join(lines), encoding="utf-8-sig")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def rows_of(source, split):
    found = []
    for records in source.read(split, 0, source.num_rows[split]):
        images, labels = (values or [None] * len(records) for values in (records.images, records.labels))
        found += zip(records.pair_ids.tolist(), records.texts, records.uris, images, labels, strict=True)
    return found


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_in_their_splits(tmp_path, suffix):
    source = TableReader(path=save(tmp_path / f"x.{suffix}"), label_separator="|", **COLUMNS).read()
    assert rows_of(source, "train") == [(7, "first", f"{tmp_path}/a/0.jpg", None, [0]), (4, "Überall", "/elsewhere/3.jpg", None, [1])]
    assert rows_of(source, "validation") == [(6, "third, with comma", "https://example.com/2.jpg", None, [])]
    assert rows_of(source, "test") == [(5, "second", f"{tmp_path}/1.png", None, [0, 1])]
    assert (source.schema.class_names, source.schema.multi_label, source.schema.has_labels) == (("cat", "dog"), True, True)


def test_without_labels_people_will_label(tmp_path):
    source = TableReader(path=save(tmp_path / "x.csv"), image="file", text="title", class_names=("cat", "dog"), images="s3://bucket/pictures/").read()
    assert (source.schema.has_labels, source.schema.class_names) == (False, ("cat", "dog"))
    assert [row[2] for row in rows_of(source, "train")] == [
        "s3://bucket/pictures/a/0.jpg",
        "s3://bucket/pictures/1.png",
        "https://example.com/2.jpg",
        "/elsewhere/3.jpg",
    ]
    assert [row[0] for row in rows_of(source, "train")] == [0, 1, 2, 3]


def test_several_tables_and_kinds(tmp_path):
    save(tmp_path / "b.csv")
    save(tmp_path / "a.jsonl")
    save(tmp_path / "c.parquet")
    found = rows_of(TableReader(path=str(tmp_path), image="file", text="title").read(), "train")
    assert [row[0] for row in found] == list(range(12))
    assert [row[1] for row in found] == [row["title"] for row in ROWS] * 3


def test_table_of_each_split(tmp_path):
    splits = {"train": save(tmp_path / "a.csv", ROWS[:3]), "test": save(tmp_path / "b.csv", ROWS[3:])}
    source = TableReader(splits=splits, image="file", text="title").read()
    assert source.num_rows == {"train": 3, "validation": 0, "test": 1}
    assert rows_of(source, "test")[0][:2] == (3, "Überall")


def test_drawn_splits_and_ranges(tmp_path):
    rows = [{"file": f"{i}.jpg", "title": f"text {i}"} for i in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=90)
    source = TableReader(path=f"{tmp_path}/x.parquet", image="file", text="title", num_test=100, num_validation=50).read()
    whole = {split: rows_of(source, split) for split in source.num_rows}
    assert {split: len(found) for split, found in whole.items()} == {"train": 850, "validation": 50, "test": 100}
    assert sorted(row[0] for found in whole.values() for row in found) == list(range(1000))
    assert all(row[1] == f"text {row[0]}" for found in whole.values() for row in found)
    part = [text for records in source.read("train", 300, 700) for text in records.texts]
    assert part == [row[1] for row in whole["train"][300:700]]


@pytest.mark.parametrize("structure", [False, True])
def test_images_within_the_table(tmp_path, structure):
    images = [b"first", b"second"]
    column = [{"bytes": image, "path": None} for image in images] if structure else images
    pq.write_table(pa.table({"picture": column, "text": ["one", "two"]}), tmp_path / "x.parquet")
    source = TableReader(path=f"{tmp_path}/x.parquet", image_bytes="picture").read()
    assert rows_of(source, "train") == [(0, "one", None, b"first", None), (1, "two", None, b"second", None)]


def test_moved_table_is_the_same_and_a_changed_one_is_not(tmp_path):
    settings = {**COLUMNS, "label_separator": "|", "source": "s"}
    before = TableReader(path=save(tmp_path / "x.csv"), **settings).read().schema
    (tmp_path / "x.csv").rename(tmp_path / "y.csv")
    assert TableReader(path=f"{tmp_path}/y.csv", **settings).read().schema == before
    assert TableReader(path=save(tmp_path / "y.csv", ROWS[:3]), **settings).read().schema != before


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": ""}, r"column 'title': row 2 \(the first is 0\) is empty"),
        ({"file": " "}, r"column 'file': row 2 \(the first is 0\) is empty"),
        ({"part": "holdout"}, "column 'part': row 2 is in split 'holdout'"),
        ({"key": 7}, "column 'key' holds 7 twice"),
    ],
)
def test_wrong_rows_are_named(tmp_path, suffix, change, message):
    rows = [*ROWS[:2], {**ROWS[2], **change}, ROWS[3]]
    with pytest.raises(ReaderError, match=rf"x\.{suffix}: {message}"):
        TableReader(path=save(tmp_path / f"x.{suffix}", rows), label_separator="|", **COLUMNS).read()


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"text": ["a", None]}, {}, r"column 'text': row 1 \(the first is 0\) is empty"),
        ({"text": [1, 2]}, {}, "column 'text' is int64; expected words"),
        ({"y": ["a", None]}, {"labels": "y"}, "column 'y': row 1 holds None"),
        ({"y": [1, None]}, {"pair_id": "y"}, r"column 'y': row 1 \(the first is 0\) has no id"),
        ({"y": ["1", "b"]}, {"pair_id": "y"}, "ids must be whole numbers"),
        ({"y": [b"a", None]}, {"image_bytes": "y"}, r"row 1 \(the first is 0\) has no image bytes"),
        ({"y": ["a", "b"]}, {"image_bytes": "y"}, "column of images is string"),
        ({}, {"labels": "tags"}, "no column 'tags'; it has path, text"),
    ],
)
def test_columns_that_do_not_fit_are_named(tmp_path, columns, settings, message):
    pq.write_table(pa.table({"path": ["0.jpg", "1.jpg"], "text": ["a", "b"], **columns}), tmp_path / "x.parquet")
    with pytest.raises(ReaderError, match=rf"x\.parquet: {message}|x\.parquet: .*{message}"):
        list(TableReader(path=f"{tmp_path}/x.parquet", image="path", **settings).read().shards())


def test_table_without_rows(tmp_path):
    (tmp_path / "x.csv").write_text("path,text\n")
    with pytest.raises(ReaderError, match=r"x\.csv: no rows"):
        TableReader(path=f"{tmp_path}/x.csv", image="path").read()


@pytest.mark.parametrize(
    "settings",
    [{"image": "a"}, {"path": "a"}, {"path": "a", "splits": {"train": "b"}, "image": "a"}, {"splits": {"train": "b"}, "image": "a", "num_test": 1}],
)
def test_contradicting_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        TableReader(**settings)


@pytest.mark.skipif(not RAW_SAMPLE.exists(), reason=f"{RAW_SAMPLE.name} with 1,500 JPEGs is not beside this checkout")
def test_sample_of_real_photographs():
    path = str(RAW_SAMPLE.resolve())
    source = TableReader(path=path, image="image", image_bytes="jpeg", text="caption", labels="labels", split_column="split", pair_id="row").read()
    assert source.num_rows == {"train": 1200, "validation": 0, "test": 300}
    assert (source.schema.num_classes, source.schema.multi_label) == (18, True)
    pair_id, text, uri, image, labels = rows_of(source, "train")[0]
    assert (pair_id, text) == (4, "A man riding a motor bike across a forest.")
    assert uri.endswith("coco18_raw_sample/7.jpg")
    assert image[:3] == b"\xff\xd8\xff"
    assert [source.schema.class_names[label] for label in labels] == ["motorcycle", "person"]
