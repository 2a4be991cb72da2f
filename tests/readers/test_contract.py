"""What every registered reader of features must do; a new reader adds one entry to CASES, or to RAW_CASES of test_raw_contract.py."""

import json
import runpy
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from pydantic import TypeAdapter

from xmr_ray.corpus.check import check_corpus
from xmr_ray.corpus.columns import stored_as
from xmr_ray.corpus.truth import has_truth, open_truth
from xmr_ray.readers import Reader, ingest
from xmr_ray.types import SPLITS, widen

CASES = {
    "npz": lambda npz, parquet: {"path": f"{npz}/data.npz", "items": f"{npz}/items.jsonl.gz", "thumbnails": f"{npz}/thumbnails.parquet"},
    "parquet": lambda npz, parquet: {"path": str(parquet), "split_column": "part", "labels": "tags", "caption": "title", "pair_id": "key"},
    "synthetic": lambda npz, parquet: {"num_train": 1500, "num_validation": 40, "num_test": 30, "image_dim": 12, "text_dim": 5, "dtype": "bf16"},
}
NUS_FEATURES = ("Low_Level_Features/Normalized_CH.dat", "Low_Level_Features/Normalized_WT.dat")


def feature_mat(folder):
    rng = np.random.default_rng(0)
    arrays = {f"{role}_{part}": rng.random((rows, width)) for part, rows in (("tr", 30), ("te", 7)) for role, width in (("I", 5), ("T", 3))}
    labels = {f"L_{part}": rng.integers(1, 5, size=(rows, 1)) for part, rows in (("tr", 30), ("te", 7))}
    scipy.io.savemat(folder / "features.mat", {**arrays, **labels})
    return {"path": f"{folder}/features.mat", "num_validation": 5}


def feature_shards(folder):
    rng = np.random.default_rng(0)
    shards = folder / "shards"
    shards.mkdir()
    for number, rows in enumerate((9, 4)):
        for name, width in (("img", 5), ("text", 3)):
            np.save(shards / f"{name}_emb_{number}.npy", rng.random((rows, width)).astype(np.float16))
        columns = {"caption": [f"words {i}" for i in range(rows)], "tags": [["sea", "sky"][: i % 3] for i in range(rows)]}
        pq.write_table(pa.table(columns), shards / f"metadata_{number}.parquet")
    return {"path": str(shards), "labels": "tags", "num_validation": 2, "num_test": 3}


TREE_CASES = {
    "feature_mat": lambda trees, folder: feature_mat(folder),
    "feature_shards": lambda trees, folder: feature_shards(folder),
    "nus_wide": lambda trees, folder: {**trees.nus_wide(folder), "text": "tag_vectors", "features": NUS_FEATURES, "carve_validation": 1},
    "wikipedia": lambda trees, folder: {**trees.wikipedia(folder), "features": True, "carve_validation": 1},
}


@pytest.fixture(params=[*CASES, *TREE_CASES])
def reader(request, npz_folder, parquet_folder, trees, tmp_path):
    if request.param in TREE_CASES:
        settings = {"kind": request.param, **TREE_CASES[request.param](trees, tmp_path)}
    else:
        settings = {"kind": request.param, **CASES[request.param](npz_folder, parquet_folder)}
    return TypeAdapter(Reader).validate_python(settings)


def gathered(source):
    """All records of a source by split: ids, features as they will be stored, labels and captions in one list per field."""
    found = {split: ([], [], [], [], []) for split in SPLITS}
    for split, records in source.shards():
        ids, image, text, labels, captions = found[split]
        ids += records.pair_ids.tolist()
        image += widen(stored_as(records.image, source.schema.image_dtype), source.schema.image_dtype).tolist()
        text += widen(stored_as(records.text, source.schema.text_dtype), source.schema.text_dtype).tolist()
        labels += [sorted(row) for row in records.labels]
        captions += records.captions or []
    return found


def test_every_registered_kind_has_a_case():
    union = get_args(get_args(Reader)[0])
    raw_cases = runpy.run_path(str(Path(__file__).with_name("test_raw_contract.py")))["RAW_CASES"]
    assert {reader.model_fields["kind"].default for reader in union} == {*CASES, *TREE_CASES, *raw_cases}


def test_same_settings_give_the_same_records(reader):
    assert gathered(reader.read()) == gathered(reader.read())


def test_a_source_can_be_streamed_twice(reader):
    source = reader.read()
    assert gathered(source) == gathered(source)


def test_shapes_follow_the_schema_and_ids_are_distinct(reader):
    source, ids = reader.read(), []
    for _, records in source.shards():
        assert records.image.shape == (len(records), source.schema.image_dim)
        assert records.text.shape == (len(records), source.schema.text_dim)
        assert records.pair_ids.dtype == np.int64
        ids += records.pair_ids.tolist()
    assert len(ids) == len(set(ids)) > 0


def test_ingesting_keeps_every_record(reader, tmp_path):
    source = reader.read()
    corpus = ingest(source, str(tmp_path / "corpus"))
    assert corpus.schema == source.schema
    assert check_corpus(corpus.path).ok
    for split, (ids, image, text, labels, captions) in gathered(source).items():
        batches = [corpus.read(descriptor) for descriptor in corpus.descriptors(split)]
        assert [pair_id for batch in batches for pair_id in batch.pair_ids_B.tolist()] == ids
        assert [row for batch in batches for row in batch.images().tolist()] == image
        assert [row for batch in batches for row in batch.texts().tolist()] == text
        assert has_truth(corpus, split)
        truth = open_truth(corpus, split)
        assert [truth.take([pair_id]).classes.tolist() for pair_id in ids[:50]] == labels[:50]
        items = corpus.items(ids)
        assert [items[pair_id].caption for pair_id in ids] == (captions or [None] * len(ids))


def test_ingesting_again_does_nothing(reader, tmp_path):
    first = ingest(reader.read(), str(tmp_path / "corpus"))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").rglob("*")}
    assert ingest(reader.read(), str(tmp_path / "corpus")).fingerprint == first.fingerprint
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").rglob("*")} == stamps


def test_schema_can_be_asked_without_streaming(reader):
    assert reader.read().schema == reader.read().schema
    assert len(reader.read().schema.reader) == 64


def test_a_source_of_relative_paths_is_read_from_anywhere(reader, monkeypatch, tmp_path, tmp_path_factory):
    expected = gathered(reader.read())
    monkeypatch.chdir(tmp_path.anchor)
    content = json.loads(reader.model_dump_json().replace('"/', '"'))
    source = TypeAdapter(Reader).validate_python(content).read()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert gathered(source) == expected
