import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray import storage
from xmr_ray.errors import LedgerError, StorageError
from xmr_ray.labels.annotators import Answers
from xmr_ray.labels.ledger import LabelLedger, read_receipt, write_receipt
from xmr_ray.types import LabelSet


def answers_of(labelled, cannot_tell=()):
    return Answers(LabelSet.of(list(labelled), list(labelled.values())), np.array(cannot_tell, dtype=np.int64))


@given(rows=st.dictionaries(st.integers(0, 2**62), st.lists(st.integers(0, 80), max_size=5, unique=True), max_size=20))
def test_a_receipt_reads_back_as_it_was_written(tmp_path_factory, rows):
    path = str(tmp_path_factory.mktemp("receipts") / "labels.parquet")
    write_receipt(path, answers_of(rows, cannot_tell=[2**62 + 5, 2**62 + 1]))
    back = read_receipt(path)
    assert back.labels.pair_ids_L.tolist() == sorted(rows)
    for pair_id, classes in rows.items():
        one = back.labels.take([pair_id])
        assert one.classes.tolist() == classes
    assert sorted(back.cannot_tell_n.tolist()) == [2**62 + 1, 2**62 + 5]


def test_a_purchase_is_closed_once(tmp_path):
    path = str(tmp_path / "labels.parquet")
    write_receipt(path, answers_of({1: [0]}))
    with pytest.raises(LedgerError, match="never bought twice"):
        write_receipt(path, answers_of({2: [0]}))
    assert read_receipt(path).labels.pair_ids_L.tolist() == [1]


def test_a_full_disk_leaves_no_receipt_and_no_fragment(tmp_path, monkeypatch):
    path = tmp_path / "round" / "labels.parquet"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "_sync", full)
    with pytest.raises(StorageError, match=r"labels\.parquet: cannot be written .*No space left"):
        write_receipt(str(path), answers_of({1: [0]}))
    monkeypatch.undo()
    assert list(path.parent.iterdir()) == []
    write_receipt(str(path), answers_of({1: [0]}))
    assert read_receipt(str(path)).labels.pair_ids_L.tolist() == [1]


def test_a_damaged_receipt_is_named(tmp_path):
    path = tmp_path / "labels.parquet"
    write_receipt(str(path), answers_of({pair_id: [pair_id % 3] for pair_id in range(500)}))
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"labels\.parquet"):
        read_receipt(str(path))


@pytest.mark.slow
def test_no_flipped_bit_of_a_receipt_is_believed(tmp_path):
    path, expected = tmp_path / "labels.parquet", answers_of({4: [1], 2: [0, 2], 9: []}, cannot_tell=[11])
    write_receipt(str(path), expected)
    data = path.read_bytes()
    refused = 0
    tried = range(0, 8 * len(data), 13)
    for bit in tried:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            back = read_receipt(str(path))
        except StorageError as error:
            refused += "labels.parquet" in str(error)
        else:
            assert back.labels.pair_ids_L.tolist() == [2, 4, 9]
            assert (back.labels.classes.tolist(), back.labels.offsets.tolist()) == ([0, 2, 1], [0, 2, 3, 3])
            assert back.cannot_tell_n.tolist() == [11]
    assert refused > len(tried) / 2, "more than half of all bits matter"


def test_the_ledger_counts_what_could_not_be_told_as_bought_and_refuses_a_second_purchase():
    ledger = LabelLedger().enter(answers_of({4: [1], 2: [0]}, cannot_tell=[3])).enter(answers_of({9: [2]}))
    assert ledger.bought_ids.tolist() == [2, 3, 4, 9]
    assert ledger.labels.pair_ids_L.tolist() == [2, 4, 9]
    assert ledger.num_bought == 4
    assert ledger.sizes == (3, 1)
    for again in (answers_of({9: [2]}), answers_of({}, cannot_tell=[9]), answers_of({3: [0]})):
        with pytest.raises(LedgerError, match=r"pair_id [39] was bought before"):
            ledger.enter(again)
