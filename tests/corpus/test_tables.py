from dataclasses import replace

import numpy as np
import pytest

from xmr_ray.corpus.columns import truth_schema
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.tables import PairTables, check_labels, raw_table, repeated_id
from xmr_ray.errors import CorpusError

SCHEMA = CorpusSchema(image_dim=2, text_dim=1, image_dtype="f16", text_dtype="f16", class_names=("a", "b", "c"), has_uris=True)
RAW = RawSchema(class_names=("a", "b"), has_labels=True)
GOOD = PairRecords(np.array([7, 8]), np.ones((2, 2), np.float32), np.ones((2, 1), np.float32), [[2, 0], []], None, ["x", None])
RAW_GOOD = RawRecords(np.array([3, 4]), ["one", ""], ["/a.jpg", None], [None, b"jpeg"], [[1, 0], []])


def tables(records):
    found = PairTables("c", SCHEMA)
    found.check_shapes("train", records, row=10)
    return found.tables("train", records, row=10)


def test_pairs_and_their_truth_lie_in_two_tables_labels_ascending():
    pairs, truth = tables(GOOD)
    assert pairs.column_names == ["pair_id", "image", "text", "uri"]
    assert pairs["image"].to_pylist() == [np.ones(2, "<f2").tobytes()] * 2
    assert pairs["uri"].to_pylist() == ["x", None]
    assert truth.to_pydict() == {"pair_id": [7, 8], "labels": [[0, 2], []]}
    assert truth.schema == truth_schema()
    assert tables(replace(GOOD, labels=None))[1] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.ones((2, 3), np.float32)}, r"c: train from row 10: image features have shape \(2, 3\), expected \(2, 2\)"),
        ({"labels": [[0]]}, "1 labels for 2 pairs"),
        ({"uris": None}, "the schema says has_uris=True, the records disagree"),
        ({"labels": [[0], [3]]}, r"c: train row 11 \(pair_id 8\): label 3 is outside the 3 classes"),
        ({"labels": [[1, 1], []]}, r"train row 10 \(pair_id 7\): labels \[1, 1\] name a class twice"),
        ({"text": np.array([[1], [np.nan]], np.float32)}, r"train row 11 \(pair_id 8\): text\[0\] is nan"),
        ({"image": np.array([[1, 1], [1, 1e6]], np.float32)}, r"train row 11 \(pair_id 8\): image feature 1000000.0 does not fit f16"),
    ],
)
def test_what_must_not_be_in_a_corpus_is_named(change, message):
    with pytest.raises(CorpusError, match=message):
        tables(replace(GOOD, **change))


def test_single_label_pairs_have_one_label():
    with pytest.raises(CorpusError, match=r"test row 5 \(pair_id 8\): 2 labels, but the corpus is single-label"):
        check_labels("c", "test", replace(GOOD, labels=[[0], [1, 2]]), row=4, num_classes=3, multi_label=False)


def test_raw_pairs_as_a_table():
    table = raw_table("r", RAW, "train", RAW_GOOD, row=0)
    assert table.to_pydict() == {
        "pair_id": [3, 4],
        "text": ["one", ""],
        "uri": ["/a.jpg", None],
        "image": [None, b"jpeg"],
        "labels": [[0, 1], []],
    }
    without = raw_table("r", RawSchema(), "train", replace(RAW_GOOD, labels=None, images=None, uris=["a", "b"]), row=0)
    assert without.column_names == ["pair_id", "text", "uri", "image"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "the schema says has_labels=True, the records disagree"),
        ({"labels": [[5], []]}, r"r: train row 20 \(pair_id 3\): label 5 is outside the 2 classes"),
        ({"texts": ["one", None]}, r"train row 21 \(pair_id 4\): no text"),
        ({"images": None}, r"train row 21 \(pair_id 4\): no image, neither bytes nor a URI"),
    ],
)
def test_raw_pairs_that_nobody_can_use_are_named(change, message):
    with pytest.raises(CorpusError, match=message):
        raw_table("r", RAW, "train", replace(RAW_GOOD, **change), row=20)


def test_a_repeated_id_is_named():
    assert "c: train row 12 (pair_id 8): pair_id is repeated" in str(repeated_id("c", "train", GOOD.pair_ids, 1, row=11))
