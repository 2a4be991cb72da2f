"""What every registered reader of raw pairs must do; a new reader adds one entry to RAW_CASES.

A case gets an empty folder and the `trees` fixture (writers of published layouts), and returns the reader's settings without `kind`.
"""

import io
import json
import pickle
import tarfile
from itertools import pairwise

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from xmr_ray.corpus.parts import plan_parts
from xmr_ray.corpus.source import RawSource
from xmr_ray.readers import Reader
from xmr_ray.readers.ingest import finish, write
from xmr_ray.types import SPLITS


def webdataset(folder):
    shards = folder / "shards"
    shards.mkdir()
    for number in range(2):
        with tarfile.open(shards / f"{number:05d}.tar", "w") as tar:
            for i in range(4):
                note = json.dumps({"key": str(i), "tags": ["sea", "sky"][: i % 3]})
                for suffix, data in (("jpg", b"picture %d" % i), ("txt", b"words %d" % i), ("json", note.encode())):
                    member = tarfile.TarInfo(f"{number:05d}{i:04d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return {"path": str(shards), "labels": "tags", "num_test": 2, "num_validation": 1}


def table(folder):
    lines = [f"{i}.jpg,words {i},{'sea;sky' if i % 3 else 'sky'},{('train', 'val', 'test')[i % 3]}" for i in range(9)]
    (folder / "pairs.csv").write_text("\n".join(["file,title,tags,part", *lines]))
    columns = {"image": "file", "text": "title", "labels": "tags", "split_column": "part"}
    return {"path": f"{folder}/pairs.csv", "label_separator": ";", **columns}


def hf_dataset(folder):
    rows = pa.table({"image": [{"bytes": b"%d" % i, "path": None} for i in range(7)], "text": ["words"] * 7, "label": [i % 2 for i in range(7)]})
    saved = folder / "saved"
    saved.mkdir()
    with pa.OSFile(f"{saved}/data-00000-of-00001.arrow", "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows, max_chunksize=3)
    (saved / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    (saved / "dataset_info.json").write_text('{"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}')
    return {"path": str(saved), "labels": "label", "num_test": 2}


RAW_CASES = {
    "hf_dataset": lambda folder, trees: hf_dataset(folder),
    "table": lambda folder, trees: table(folder),
    "webdataset": lambda folder, trees: webdataset(folder),
    "mirflickr": lambda folder, trees: trees.mirflickr(folder),
    "ms_coco": lambda folder, trees: trees.ms_coco(folder),
    "nus_wide": lambda folder, trees: trees.nus_wide(folder),
    "openclipart": lambda folder, trees: trees.openclipart(folder),
    "pascal_sentence": lambda folder, trees: trees.pascal_sentence(folder),
    "pascal_voc": lambda folder, trees: trees.pascal_voc(folder),
    "wikipedia": lambda folder, trees: trees.wikipedia(folder),
}

BATCH_ROWS = 1024


@pytest.fixture(params=RAW_CASES)
def reader(request, tmp_path, trees):
    settings = {"kind": request.param, **RAW_CASES[request.param](tmp_path, trees)}
    return TypeAdapter(Reader).validate_python(settings)


def rows_of(batches):
    """One tuple per pair, whatever the batches."""
    found = []
    for records in batches:
        num_rows = len(records)
        images = records.images if records.images is not None else [None] * num_rows
        labels = records.labels if records.labels is not None else [None] * num_rows
        columns = (records.pair_ids.tolist(), records.texts, records.uris, images, labels)
        assert [len(column) for column in columns] == [num_rows] * 5
        assert records.pair_ids.dtype == np.int64
        assert 0 < num_rows <= BATCH_ROWS
        found += [(*row[:4], None if row[4] is None else list(row[4])) for row in zip(*columns, strict=True)]
    return found


def gathered(source):
    return {split: rows_of(source.read(split, 0, source.num_rows.get(split, 0))) for split in SPLITS}


def test_same_settings_give_the_same_records(reader):
    assert reader.read().schema == reader.read().schema
    assert len(reader.read().schema.reader) == 64
    assert gathered(reader.read()) == gathered(reader.read())


def test_number_of_rows_is_as_said(reader):
    source = reader.read()
    assert isinstance(source, RawSource)
    assert {split: len(rows) for split, rows in gathered(source).items()} == {split: source.num_rows.get(split, 0) for split in SPLITS}
    assert sum(source.num_rows.values()) > 2


def test_any_range_is_the_slice_of_the_whole(reader):
    source = reader.read()
    for split, whole in gathered(source).items():
        num_rows = len(whole)
        for start, stop in [*pairwise(range(num_rows + 1)), (0, num_rows // 2), (num_rows // 3, num_rows), (num_rows, num_rows)]:
            assert rows_of(source.read(split, start, stop)) == whole[start:stop]


def test_records_follow_the_schema_and_ids_are_distinct(reader):
    source = reader.read()
    rows = [row for rows in gathered(source).values() for row in rows]
    assert len({row[0] for row in rows}) == len(rows)
    for pair_id, text, uri, image, labels in rows:
        assert pair_id >= 0
        assert isinstance(text, str)
        assert image is not None or uri.startswith("/") or "://" in uri
        assert (labels is not None) == source.schema.has_labels
        assert labels is None or all(0 <= label < source.schema.num_classes for label in labels)
        assert labels is None or labels == sorted(set(labels))


@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_a_source_travels_to_another_process(reader, pickler):
    source = reader.read()
    assert gathered(pickle.loads(pickler.dumps(source))) == gathered(source)


def test_a_raw_corpus_keeps_every_record(reader, tmp_path):
    source, path = reader.read(), str(tmp_path / "raw_corpus")
    parts = plan_parts(source.num_rows, rows_per_file=3)
    for part in parts:
        write(source, path, part)
    corpus = finish(source, path, parts)
    assert corpus.schema == source.schema
    assert gathered(corpus) == gathered(source)


def test_a_source_of_relative_paths_is_read_from_anywhere(reader, monkeypatch, tmp_path, tmp_path_factory):
    expected = gathered(reader.read())
    monkeypatch.chdir(tmp_path.anchor)
    content = json.loads(reader.model_dump_json().replace('"/', '"'))
    source = TypeAdapter(Reader).validate_python(content).read()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert gathered(source) == expected
