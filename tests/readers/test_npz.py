import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import CorpusError, ReaderError
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.npz import NpzReader


@pytest.fixture
def arrays(npz_folder):
    with np.load(npz_folder / "data.npz") as found:
        return dict(found)


def by_split(source):
    found = {}
    for split, records in source.shards():
        found.setdefault(split, []).extend(records.pair_ids.tolist())
    return found


def test_rows_go_to_their_splits(npz_folder, arrays):
    found = by_split(NpzReader(path=f"{npz_folder}/data.npz").read())
    expected = {split: np.flatnonzero(arrays["split"] == i).tolist() for i, split in enumerate(("train", "validation", "test"))}
    assert found == expected


def test_features_labels_and_items_of_a_row(npz_folder, arrays, tmp_path):
    reader = NpzReader(
        path=f"{npz_folder}/data.npz", items=f"{npz_folder}/items.jsonl.gz", thumbnails=f"{npz_folder}/thumbnails.parquet", dtype="f16"
    )
    corpus = ingest(reader.read(), str(tmp_path / "c"))
    batch = corpus.read(corpus.descriptors("test")[0])
    assert batch.pair_ids_B[:3].tolist() == [2, 8, 14]
    assert np.array_equal(batch.image_BI[1], arrays["image_features"][8])
    assert np.array_equal(batch.text_BT[1], arrays["text_features"][8])
    assert open_truth(corpus, "test").take([8]).classes.tolist() == np.flatnonzero(arrays["labels"][8]).tolist()
    items = corpus.items([8, 9])
    assert (items[8].caption, items[8].thumbnail, items[9].thumbnail) == ("caption 8", b"image 8", None)


def test_dropped_class_drops_labels_not_pairs(npz_folder, arrays, tmp_path):
    for dropped in ("person", 0):
        corpus = ingest(NpzReader(path=f"{npz_folder}/data.npz", drop_classes=[dropped]).read(), str(tmp_path / str(dropped)))
        assert corpus.schema.class_names == ("cat", "dog", "bus")
        assert sum(corpus.num_pairs(split) for split in corpus.splits) == 60
        dense = open_truth(corpus, "train").dense(np.flatnonzero(arrays["split"] == 0), num_classes=3)
        assert np.array_equal(dense, arrays["labels"][arrays["split"] == 0][:, 1:])


def test_single_label_is_noticed(save_npz):
    one_each = np.eye(4, dtype=np.uint8)[np.arange(60) % 4]
    assert NpzReader(path=save_npz(labels=one_each)).read().schema.multi_label is False
    assert NpzReader(path=save_npz()).read().schema.multi_label is True
    assert NpzReader(path=save_npz(labels=one_each), multi_label=True).read().schema.multi_label is True


def test_validation_is_carved_from_train_by_hash(save_npz):
    split = np.array([0, 0, 2] * 20, dtype=np.uint8)
    path = save_npz(split=split)
    found = by_split(NpzReader(path=path, carve_validation=7).read())
    assert len(found["validation"]) == 7
    assert sorted(found["train"] + found["validation"]) == np.flatnonzero(split == 0).tolist()
    assert found["test"] == np.flatnonzero(split == 2).tolist()
    assert by_split(NpzReader(path=path, carve_validation=7, seed=1).read())["validation"] != found["validation"]
    assert set(found["validation"]) < set(by_split(NpzReader(path=path, carve_validation=12).read())["validation"])


def test_principal_components_are_fitted_on_train_and_stored(save_npz):
    source = NpzReader(path=save_npz(), image_pca=2, dtype="f16").read()
    assert source.schema.image_dim == 2
    train = np.concatenate([records.image for split, records in source.shards() if split == "train"])
    np.testing.assert_allclose(train.mean(axis=0), 0.0, atol=1e-6)


def test_where_the_file_lies_does_not_matter_what_it_holds_does(npz_folder, save_npz):
    schema = NpzReader(path=f"{npz_folder}/data.npz").read().schema
    assert NpzReader(path=save_npz("copy.npz"), source="data.npz").read().schema.reader != schema.reader
    (npz_folder / "elsewhere").mkdir()
    (npz_folder / "data.npz").rename(npz_folder / "elsewhere" / "data.npz")
    assert NpzReader(path=f"{npz_folder}/elsewhere/data.npz").read().schema == schema


def test_plain_lines_with_another_key(npz_folder):
    (npz_folder / "items.jsonl").write_text("\n".join(json.dumps({"caption": f"c{i}"}) for i in range(60)))
    source = NpzReader(path=f"{npz_folder}/data.npz", items=f"{npz_folder}/items.jsonl", caption_key="caption").read()
    assert next(source.shards())[1].captions[:3] == ["c0", "c1", "c3"]


LABELS = np.ones((60, 4), dtype=np.uint8)

BAD_ARRAYS = {
    "missing array": ({"text_features": None}, "no array 'text_features'"),
    "rows disagree": ({"image_features": np.ones((59, 6))}, r"image_features has shape \(59, 6\), expected \(60, width\)"),
    "names disagree": ({"label_names": np.array(["a"])}, "labels has 4 columns for 1 label names"),
    "label two": ({"labels": LABELS * 2}, r"labels of row 0 are \[2, 2, 2, 2\]"),
    "split three": ({"split": np.full(60, 3)}, "split of row 0 is 3"),
    "pickled": ({"label_names": np.array(["a", "b", 3, None], dtype=object)}, "not an npz file of plain arrays"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_named(save_npz, case):
    changes, message = BAD_ARRAYS[case]
    with pytest.raises(ReaderError, match=f"data.npz: {message}"):
        NpzReader(path=save_npz(**changes)).read()


BAD_SETTINGS = {
    "unknown class": ({"drop_classes": ["horse"]}, "drop_classes names 'horse'; the file has classes person, cat"),
    "class number": ({"drop_classes": [4]}, "drop_classes names 4"),
    "not single": ({"multi_label": False}, r"row \d+ has \d labels, but multi_label is false"),
    "carve twice": ({"carve_validation": 5}, "the file has a validation split"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_settings_that_do_not_fit_the_file_are_named(save_npz, case):
    settings, message = BAD_SETTINGS[case]
    with pytest.raises(ReaderError, match=message):
        NpzReader(path=save_npz(), **settings).read()


def test_carving_all_of_train_is_refused(save_npz):
    with pytest.raises(ReaderError, match="carve_validation=60 of 60 training pairs leaves none"):
        NpzReader(path=save_npz(split=np.zeros(60, np.uint8)), carve_validation=60).read()


@pytest.mark.parametrize("field", ["path", "items", "thumbnails"])
def test_missing_file_is_named(npz_folder, field):
    settings = {"path": f"{npz_folder}/data.npz", field: f"{npz_folder}/nowhere"}
    with pytest.raises(ReaderError, match="nowhere: no such file"):
        NpzReader(**settings).read()


def test_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "data.npz").write_bytes(b"not an archive")
    with pytest.raises(ReaderError, match=r"data\.npz: not an npz file"):
        NpzReader(path=str(tmp_path / "data.npz")).read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n".join('{"text": "x"}' for _ in range(59)), "59 lines for 60 pairs"),
        ("\n".join('{"title": "x"}' for _ in range(60)), "no line has the key 'text'; the first one has title"),
        ("nothing", "not a file of JSON lines"),
    ],
)
def test_bad_captions_are_named(npz_folder, content, message):
    (npz_folder / "items.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    with pytest.raises(ReaderError, match=rf"items\.jsonl\.gz: {message}"):
        NpzReader(path=f"{npz_folder}/data.npz", items=f"{npz_folder}/items.jsonl.gz").read()


def test_bad_thumbnails_are_named(npz_folder):
    settings = {"path": f"{npz_folder}/data.npz", "thumbnails": f"{npz_folder}/thumbnails.parquet"}
    pq.write_table(pa.table({"row": [60], "webp": [b"x"]}), npz_folder / "thumbnails.parquet")
    with pytest.raises(ReaderError, match="row 60 is outside the 60 pairs"):
        NpzReader(**settings).read()
    (npz_folder / "thumbnails.parquet").write_bytes(b"x")
    with pytest.raises(ReaderError, match="not a Parquet file"):
        NpzReader(**settings).read()


def test_value_that_is_not_finite_stops_the_ingest(save_npz, tmp_path):
    image = np.ones((60, 6), dtype=np.float16)
    image[9, 1] = np.nan
    with pytest.raises(CorpusError, match=r"train row 6 \(pair_id 9\): image\[1\] is nan"):
        ingest(NpzReader(path=save_npz(image_features=image)).read(), str(tmp_path / "c"))
