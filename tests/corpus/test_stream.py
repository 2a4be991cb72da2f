import threading

import numpy as np
import pyarrow as pa
import pytest

from xmr_ray.corpus import stream
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.stream import RowGroupReader, open_parquet, prefetch
from xmr_ray.errors import CorpusError


def flip_byte_of_features(path, *, row_group=0):
    """Flip one bit of the first stored vector's bytes, found by its value."""
    first = open_parquet(str(path)).read_row_group(row_group, columns=["image"]).column("image")[0].as_py()
    data = bytearray(path.read_bytes())
    at = bytes(data).find(first)
    assert at > 0
    data[at + 5] ^= 0x10
    with path.open("r+b") as file:
        file.write(data)


def whole(corpus, split="train"):
    reader = RowGroupReader(corpus)
    return [reader.read(descriptor) for descriptor in corpus.descriptors(split)]


def test_prefetch_gives_what_reading_gives_in_order(tiny_corpus):
    descriptors = tiny_corpus.descriptors("train")
    found = list(prefetch(RowGroupReader(tiny_corpus), descriptors))
    assert [descriptor for descriptor, _ in found] == list(descriptors)
    for (_, batch), plain in zip(found, whole(tiny_corpus), strict=True):
        assert np.array_equal(batch.pair_ids_B, plain.pair_ids_B)
        assert np.array_equal(batch.image_BI, plain.image_BI)
        assert np.array_equal(batch.text_BT, plain.text_BT)


def test_prefetch_of_nothing(tiny_corpus):
    assert list(prefetch(RowGroupReader(tiny_corpus), [])) == []


class Recorder:
    """A reader that notes what was read, by which thread."""

    def __init__(self, fail_at=None):
        self.read_so_far, self.threads, self.fail_at = [], set(), fail_at
        self.second = threading.Event()

    def read(self, descriptor):
        if descriptor == self.fail_at:
            raise CorpusError(f"broken {descriptor}")
        self.threads.add(threading.current_thread().name)
        self.read_so_far.append(descriptor)
        if len(self.read_so_far) == 2:
            self.second.set()
        return descriptor * 10


def test_exactly_one_is_read_ahead_by_one_thread():
    reader = Recorder()
    stream = prefetch(reader, iter([1, 2, 3, 4]))
    assert next(stream) == (1, 10)
    assert reader.second.wait(timeout=10)
    assert reader.read_so_far == [1, 2]
    assert list(stream) == [(2, 20), (3, 30), (4, 40)]
    assert len(reader.threads) == 1
    assert threading.current_thread().name not in reader.threads


def test_what_the_thread_raises_is_raised_after_the_good_ones():
    stream = prefetch(Recorder(fail_at=2), [1, 2, 3])
    assert next(stream) == (1, 10)
    with pytest.raises(CorpusError, match="broken 2"):
        next(stream)


def test_closing_ends_the_thread():
    reader = Recorder()
    stream = prefetch(reader, range(1, 100))
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name in reader.threads]
    assert len(reader.read_so_far) <= 2


def test_flipped_byte_in_a_feature_page_is_noticed(copy):
    flip_byte_of_features(copy / "train" / "pairs-00001.parquet")
    corpus = PairedCorpus.open(str(copy))
    descriptors = corpus.descriptors("train")
    with pytest.raises(CorpusError, match=r"train/pairs-00001\.parquet: row group 0 cannot be read .*doctor"):
        corpus.read(descriptors[4])
    assert len(corpus.read(descriptors[5])) == 64


def test_every_reader_verifies_what_it_reads_first_and_only_then(copy, monkeypatch):
    opened = []
    monkeypatch.setattr(stream, "open_parquet", lambda path, *, verify=True: opened.append(verify) or open_parquet(path, verify=verify))
    corpus = PairedCorpus.open(str(copy))
    first, second = corpus.descriptors("train")[:2]
    reader = RowGroupReader(corpus)
    reader.read(first)
    assert opened == [True]
    again = reader.read(first)
    assert opened == [True, False]
    assert np.array_equal(again.image_BI, corpus.read(first).image_BI)
    flip_byte_of_features(copy / "train" / "pairs-00000.parquet", row_group=1)
    with pytest.raises(CorpusError, match="row group 1 cannot be read"):
        reader.read(second)


def test_another_number_of_rows_is_noticed(rewrite, copy):
    rewrite("train/pairs-00002.parquet", lambda table: table, row_group_size=50)
    corpus = PairedCorpus.open(str(copy))
    with pytest.raises(CorpusError, match=r"pairs-00002\.parquet: row group 0 holds 50 rows .* the manifest says 64"):
        corpus.read(corpus.descriptors("train")[8])


def test_wrong_dims_in_one_shard_are_noticed(rewrite, copy):
    def narrower(table):
        return table.set_column(1, "image", pa.array([value.as_py()[:-4] for value in table.column("image")], type=pa.binary(92)))

    rewrite("train/pairs-00001.parquet", narrower)
    corpus = PairedCorpus.open(str(copy))
    with pytest.raises(CorpusError, match=r"pairs-00001\.parquet: row group 1, image: a vector has 92 bytes, expected 96"):
        corpus.read(corpus.descriptors("train")[5])


def test_missing_column_is_noticed(rewrite, copy):
    rewrite("test/pairs-00000.parquet", lambda table: table.drop_columns(["text"]))
    corpus = PairedCorpus.open(str(copy))
    with pytest.raises(CorpusError, match=r"test/pairs-00000\.parquet: row group 0 .*pair_id.*image"):
        corpus.read(corpus.descriptors("test")[0])


def test_file_that_is_not_parquet_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(CorpusError, match=r"x\.parquet: cannot be opened as Parquet"):
        open_parquet(str(tmp_path / "x.parquet"))


def test_list_columns_are_read_too(rewrite, copy, tiny_corpus):
    def lists(table):
        values = [np.frombuffer(value.as_py(), dtype="<f4").tolist() for value in table.column("image")]
        return table.set_column(1, "image", pa.array(values, type=pa.list_(pa.float32())))

    rewrite("train/pairs-00001.parquet", lists)
    corpus = PairedCorpus.open(str(copy))
    for batch, expected in zip(whole(corpus)[4:8], whole(tiny_corpus)[4:8], strict=True):
        assert np.array_equal(batch.image_BI, expected.image_BI)


def test_closed_reader_opens_again(tiny_corpus):
    reader, descriptor = RowGroupReader(tiny_corpus), tiny_corpus.descriptors("test")[1]
    first = reader.read(descriptor)
    reader.close()
    assert np.array_equal(reader.read(descriptor).image_BI, first.image_BI)
