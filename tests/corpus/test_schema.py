import json

import numpy as np
import pytest

from xmr_ray.corpus.schema import CorpusSchema, Manifest, PairRecords
from xmr_ray.errors import CorpusError

ENTRY = {"file": "train/pairs-00000.parquet", "rows": 3, "bytes": 10, "sha256": "x", "row_groups": [2, 1]}
MANIFEST = {
    "corpus": {"image_dim": 2, "text_dim": 2, "class_names": ["a"]},
    "splits": {"train": [ENTRY]},
    "truth": {"train": [{**ENTRY, "file": "truth/train-00000.parquet"}]},
    "statistics": {"bytes": 1, "sha256": "y"},
}


def parse(**changes):
    return Manifest.from_bytes(json.dumps({**MANIFEST, **changes}).encode(), path="corpus.json")


def test_num_classes_counts_names():
    assert CorpusSchema(image_dim=1, text_dim=1, class_names=("a", "b")).num_classes == 2


def test_repeated_class_name_is_refused():
    with pytest.raises(ValueError, match="class name 'a' is repeated"):
        CorpusSchema(image_dim=1, text_dim=1, class_names=("b", "a", "a"))


def test_manifest_survives_its_own_bytes():
    manifest = parse()
    assert Manifest.from_bytes(manifest.to_bytes(), path="x") == manifest


def test_bytes_do_not_depend_on_the_order_of_splits():
    test = {**ENTRY, "file": "test/pairs-00000.parquet"}
    one = parse(splits={"train": [ENTRY], "test": [test]}, truth={})
    other = parse(splits={"test": [test], "train": [ENTRY]}, truth={})
    assert one.to_bytes() == other.to_bytes()


def test_fingerprint_changes_with_a_file_hash():
    assert parse().fingerprint != parse(splits={"train": [{**ENTRY, "sha256": "z"}]}).fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format_version"),
        ({"splits": {"train": [{**ENTRY, "rows": 4}]}}, "row groups hold 3 rows, the file 4"),
        (
            {"truth": {"train": [{**ENTRY, "rows": 2, "row_groups": [2]}]}},
            r"misaligned shards in split 'train': pair files hold \[3\] rows, truth files \[2\]",
        ),
        ({"splits": {"holdout": []}}, "splits.holdout"),
        ({"colour": 1}, "colour"),
    ],
)
def test_manifest_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(CorpusError, match=message):
        parse(**changes)


def test_manifest_that_is_not_json_names_the_path():
    with pytest.raises(CorpusError, match=r"^here/corpus\.json: not a manifest"):
        Manifest.from_bytes(b"{", path="here/corpus.json")


def test_records_slice_every_field():
    records = PairRecords(np.arange(4), np.eye(4), np.ones((4, 2)), [[0], [], [1], [2]], ["a", "b", None, "d"], None, [b"1", b"2", b"3", b"4"])
    part = records.slice(1, 3)
    assert part.pair_ids.tolist() == [1, 2]
    assert part.image.tolist() == np.eye(4)[1:3].tolist()
    assert (part.labels, part.captions, part.uris, part.thumbnails) == ([[], [1]], ["b", None], None, [b"2", b"3"])
    assert len(part) == 2
