import pytest

from xmr_ray.component import Component
from xmr_ray.errors import ReaderError
from xmr_ray.readers.raw_pairs import BATCH_ROWS, RawPair, raw_source


class AnyReader(Component):
    path: str = "here"
    seed: int = 0


def made(pairs, reader=None):
    reader = reader or AnyReader(kind="any")
    return raw_source(reader, pairs, class_names=("a", "b", "c"), multi_label=True, source="some", paths=("path",))


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"jpeg")
    return [RawPair(("train", "test")[i % 5 == 4], 10 * i, f"text {i}", str(tmp_path), f"{i}.jpg", tuple(range(i % 3))) for i in range(2600)]


def test_columns_come_back_in_order_and_in_batches(pairs, tmp_path):
    source = made(pairs)
    assert source.num_rows == {"train": 2080, "validation": 0, "test": 520}
    train = [pair for pair in pairs if pair.split == "train"]
    batches = list(source.read("train", 100, 1500))
    assert [len(records) for records in batches] == [BATCH_ROWS, 1400 - BATCH_ROWS]
    rows = [row for records in batches for row in zip(records.pair_ids.tolist(), records.texts, records.uris, records.labels, strict=True)]
    assert rows == [(pair.pair_id, pair.text, f"{tmp_path}/{pair.name}", list(pair.labels)) for pair in train[100:1500]]


def test_without_labels_there_is_no_truth(pairs):
    source = made([pair._replace(labels=None) for pair in pairs])
    assert not source.schema.has_labels
    assert next(source.read("test", 0, 2)).labels is None


def test_fingerprint_sees_what_is_read_and_not_where_it_lies(pairs, tmp_path):
    base = made(pairs).schema.reader
    assert made(pairs, AnyReader(kind="any", path="there")).schema.reader == base
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "0.jpg").write_bytes(b"jpeg")
    assert made([pair._replace(folder=f"{tmp_path}/moved") for pair in pairs]).schema.reader == base
    assert made(pairs, AnyReader(kind="any", seed=1)).schema.reader != base
    for change in ({"text": "other"}, {"labels": (2,)}, {"split": "validation"}, {"pair_id": 7}, {"name": "x.jpg"}):
        assert made([*pairs[:-1], pairs[-1]._replace(**change)]).schema.reader != base


def test_relative_folders_become_absolute(pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    source = made([pair._replace(folder=tmp_path.name) for pair in pairs])
    assert next(source.read("train", 0, 1)).uris == [f"{tmp_path}/0.jpg"]


def test_what_is_refused(pairs, tmp_path):
    with pytest.raises(ReaderError, match=r"pair 20 \(.*2.jpg\) is there twice"):
        made([*pairs, pairs[2]])
    with pytest.raises(ReaderError, match="some: no pair is left"):
        made([])
    with pytest.raises(ReaderError, match=r"nowhere/3.jpg: no such image; correct the path of the images"):
        made([*pairs, pairs[3]._replace(pair_id=1, folder=f"{tmp_path}/nowhere")])


def test_text_that_is_no_unicode_is_named(pairs):
    pairs[7] = pairs[7]._replace(text="half \ud83d")
    with pytest.raises(ReaderError, match=r"pair 70 .*7\.jpg\): its text is no Unicode .*surrogates not allowed"):
        made(pairs)
