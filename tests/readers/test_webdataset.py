import io
import json
import logging
import tarfile

import pytest
from pydantic import ValidationError

from xmr_ray.errors import ReaderError
from xmr_ray.readers.webdataset import WebdatasetReader


def write_tar(path, samples):
    """A tar as img2dataset writes it: for each key its parts by suffix, the json from a dict."""
    with tarfile.open(path, "w") as tar:
        for key, parts in samples.items():
            for suffix, value in parts.items():
                data = json.dumps(value).encode() if isinstance(value, dict) else value
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def sample(i, **note):
    whole = {"caption": f"json {i}", "url": f"https://example.com/{i}.jpg", "key": f"{i:05d}", "status": "success", **note}
    return {"jpg": b"image %d" % i, "txt": b"text %d" % i, "json": whole}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "shards"
    root.mkdir()
    for shard, rows in enumerate((range(3), range(3, 5), range(5, 9))):
        tags = {i: {"tags": ["cat", "dog"][: i % 3], "part": ("train", "val", "test")[i % 3], "id": 100 + i, "class": i % 2} for i in rows}
        write_tar(root / f"{shard:05d}.tar", {f"{shard:05d}{k:04d}": sample(i, **tags[i]) for k, i in enumerate(rows)})
        (root / f"{shard:05d}_stats.json").write_text("{}")
        (root / f"{shard:05d}.parquet").write_bytes(b"not looked at")
    return root


def rows_of(source, split):
    found = []
    for records in source.read(split, 0, source.num_rows[split]):
        labels = records.labels or [None] * len(records)
        found += zip(records.pair_ids.tolist(), records.texts, records.uris, records.images, labels, strict=True)
    return found


def test_samples_in_the_order_of_files_and_members(folder):
    source = WebdatasetReader(path=str(folder)).read()
    assert rows_of(source, "train") == [(i, f"text {i}", None, b"image %d" % i, None) for i in range(9)]
    assert (source.schema.has_labels, source.schema.class_names, source.schema.source) == (False, (), "shards")


def test_keys_of_the_json(folder):
    reader = WebdatasetReader(path=str(folder), text_key="caption", uri_key="url", pair_id="id", labels="tags", split_key="part")
    source = reader.read()
    assert (source.schema.class_names, source.schema.multi_label, source.schema.has_labels) == (("cat", "dog"), True, True)
    for k, split in enumerate(("train", "validation", "test")):
        expected = [(100 + i, f"json {i}", f"https://example.com/{i}.jpg", b"image %d" % i, [0, 1][: i % 3]) for i in range(k, 9, 3)]
        assert rows_of(source, split) == expected


def test_class_numbers(folder):
    source = WebdatasetReader(path=str(folder), labels="class", class_names=("even", "odd")).read()
    assert [row[4] for row in rows_of(source, "train")] == [[i % 2] for i in range(9)]
    assert source.schema.multi_label is False
    with pytest.raises(ReaderError, match=r"00000\.tar: sample '000000001': classes \[1\]; expected numbers below 1"):
        rows_of(WebdatasetReader(path=str(folder), labels="class", class_names=("even",)).read(), "train")


def test_splits_by_pattern_and_file(folder):
    source = WebdatasetReader(splits={"test": f"{folder}/00002.tar", "train": f"{folder}/0000[01].tar"}).read()
    assert source.num_rows == {"train": 5, "validation": 0, "test": 4}
    assert [row[1] for row in rows_of(source, "test")] == [f"text {i}" for i in range(5, 9)]
    assert [row[0] for split in ("train", "test") for row in rows_of(source, split)] == list(range(9))


def test_drawn_splits(folder):
    source = WebdatasetReader(path=str(folder), num_test=3, num_validation=2).read()
    found = [row for split in source.num_rows for row in rows_of(source, split)]
    assert source.num_rows == {"train": 4, "validation": 2, "test": 3}
    assert sorted((row[0], row[1]) for row in found) == [(i, f"text {i}") for i in range(9)]


def test_incomplete_samples_are_counted_and_left_out(folder, caplog):
    write_tar(folder / "00003.tar", {"a": {"txt": b"no image"}, "b": {"jpg": b"no text"}, "c": {"png": b"image c", "txt": b"text c"}})
    with caplog.at_level(logging.INFO):
        source = WebdatasetReader(path=str(folder)).read()
    assert "files=4 samples=10 incomplete=2" in caplog.text
    assert rows_of(source, "train")[-1] == (9, "text c", None, b"image c", None)


def test_a_range_opens_only_the_files_that_it_needs(folder):
    source = WebdatasetReader(path=str(folder)).read()
    (folder / "00000.tar").unlink()
    (folder / "00002.tar").unlink()
    assert [records.texts for records in source.read("train", 3, 5)] == [["text 3", "text 4"]]


def test_moved_files_are_the_same_and_others_are_not(folder, tmp_path):
    before = WebdatasetReader(path=str(folder), source="s").read().schema
    folder.rename(tmp_path / "there")
    assert WebdatasetReader(path=f"{tmp_path}/there", source="s").read().schema == before
    write_tar(tmp_path / "there" / "00003.tar", {"a": sample(9)})
    assert WebdatasetReader(path=f"{tmp_path}/there", source="s").read().schema != before


def test_text_with_a_byte_order_mark_and_blanks(folder):
    write_tar(folder / "00000.tar", {"a": {"jpg": b"x", "txt": "\ufeffGrüße \n".encode()}})
    assert rows_of(WebdatasetReader(path=f"{folder}/00000.tar").read(), "train")[0][1] == "Grüße"


@pytest.mark.parametrize(
    ("parts", "settings", "message"),
    [
        ({"txt": b"\xff\xfe\xff"}, {}, "sample 'a': its text is not UTF-8"),
        ({"json": b"{broken"}, {"labels": "tags"}, "sample 'a': its json cannot be read"),
        ({"json": b"[1]"}, {"labels": "tags"}, "sample 'a': its json is no object"),
        ({"json": {"x": 1}}, {"labels": "tags"}, "sample 'a': no json key 'tags'; it has x"),
        ({}, {"labels": "tags"}, "sample 'a': no json key 'tags'; it has no json"),
        ({"json": {"tags": ["a", 1]}}, {"labels": "tags"}, "json key 'tags': neither names nor numbers"),
        ({"json": {"tags": "a"}}, {"labels": "tags", "class_names": ("b",)}, "label 'a' is not among class_names"),
        ({"json": {"id": "x1"}}, {"pair_id": "id"}, "json key 'id' is 'x1'; expected a whole number"),
        ({"json": {"part": "holdout"}}, {"split_key": "part"}, "row 0 is in split 'holdout'"),
        ({"json": {"caption": 3}}, {"text_key": "caption"}, "its text is 3; expected words"),
    ],
)
def test_what_cannot_be_understood_names_file_and_sample(tmp_path, parts, settings, message):
    write_tar(tmp_path / "0.tar", {"a": {"jpg": b"x", "txt": b"t", **parts}})
    with pytest.raises(ReaderError, match=rf"0\.tar: .*{message}"):
        rows_of(WebdatasetReader(path=f"{tmp_path}/0.tar", **settings).read(), "train")


def test_repeated_ids(tmp_path):
    write_tar(tmp_path / "0.tar", {"a": sample(1, id=5), "b": sample(2, id=5)})
    with pytest.raises(ReaderError, match="json key 'id' holds 5 twice"):
        WebdatasetReader(path=f"{tmp_path}/0.tar", pair_id="id").read()


def test_no_complete_sample(tmp_path):
    write_tar(tmp_path / "0.tar", {"a": {"txt": b"t"}})
    with pytest.raises(ReaderError, match="no complete sample in any file"):
        WebdatasetReader(path=f"{tmp_path}/0.tar").read()


@pytest.mark.parametrize("settings", [{}, {"path": "a", "splits": {"train": "b"}}, {"path": "a", "split_key": "s", "num_test": 3}])
def test_contradicting_ways_to_splits_are_refused(settings):
    with pytest.raises(ValidationError):
        WebdatasetReader(**settings)
