import numpy as np
import pytest

from xmr_ray.corpus.parts import plan_parts
from xmr_ray.corpus.raw import RawRecords, RawSchema
from xmr_ray.corpus.raw_corpus import RawCorpus
from xmr_ray.corpus.source import RawSource
from xmr_ray.errors import CorpusError
from xmr_ray.readers.ingest import finish, unfinished, write

ROWS = 700


def image_of(i):
    return bytes([i % 251]) * (i % 5)


def read(split, start, stop):
    ids = np.arange(start, stop) + (0 if split == "train" else 10_000)
    uris = [None if i % 3 else f"/pictures/{i}.jpg" for i in ids]
    yield RawRecords(ids, [f"text {i}" for i in ids], uris, [image_of(i) for i in ids], [[i % 2] for i in ids])


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("raw") / "pairs")
    source = RawSource(RawSchema(class_names=("a", "b"), has_labels=True), {"train": ROWS, "test": 10}, read)
    parts = plan_parts(source.num_rows, rows_per_file=400)
    for part in parts:
        write(source, path, part)
    assert unfinished(source, path, parts) == []
    finish(source, path, parts)
    return RawCorpus.open(path)


@pytest.mark.parametrize(("start", "stop"), [(0, ROWS), (0, 1), (255, 257), (390, 410), (399, 400), (650, 700), (5, 5)])
def test_any_range_is_a_slice_of_the_whole(raw, start, stop):
    batches = list(raw.read("train", start, stop))
    ids = [int(i) for batch in batches for i in batch.pair_ids]
    assert ids == list(range(start, stop))
    assert [text for batch in batches for text in batch.texts] == [f"text {i}" for i in ids]
    assert [image for batch in batches for image in batch.images] == [image_of(i) for i in ids]
    assert [uri for batch in batches for uri in batch.uris] == [None if i % 3 else f"/pictures/{i}.jpg" for i in ids]
    assert [label for batch in batches for label in batch.labels] == [[i % 2] for i in ids]


def test_counts_texts_and_schema(raw):
    assert raw.num_rows == {"train": ROWS, "test": 10}
    assert list(raw.texts("train"))[698:] == ["text 698", "text 699"]
    assert list(raw.texts("validation")) == []
    assert raw.schema.num_classes == 2


def test_what_is_missing_or_damaged_is_named(raw, tmp_path):
    with pytest.raises(CorpusError, match="no raw pairs here"):
        RawCorpus.open(str(tmp_path))
    (tmp_path / "raw.json").write_text("{}")
    with pytest.raises(CorpusError, match="not a manifest of raw pairs"):
        RawCorpus.open(str(tmp_path))
    (tmp_path / "raw.json").write_text(raw.manifest.model_dump_json())
    with pytest.raises(CorpusError, match=r"raw-00000\.parquet: is missing or not"):
        RawCorpus.open(str(tmp_path))


def test_a_flipped_byte_is_found_when_the_rows_are_read(raw, tmp_path):
    for entry in [entry for files in raw.manifest.splits.values() for entry in files]:
        data = bytearray((tmp_path.__class__(raw.path) / entry.file).read_bytes())
        if entry.file == "train/raw-00000.parquet":
            data[data.find(b"text 17")] ^= 1
        (tmp_path / entry.file).parent.mkdir(exist_ok=True)
        (tmp_path / entry.file).write_bytes(data)
    (tmp_path / "raw.json").write_text(raw.manifest.model_dump_json())
    with pytest.raises(CorpusError, match=r"raw-00000.parquet: row group 0 cannot be read"):
        list(RawCorpus.open(str(tmp_path)).read("train", 0, 20))
