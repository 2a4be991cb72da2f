import pytest

from xmr_ray.errors import RunError
from xmr_ray.tuning.records import TrialRecord, digest_of, read_record, read_records, write_record


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = TrialRecord(3, {"a.b": [1, 2], "c": 0.1}, "stopped", ((50, 0.1 + 0.2), (100, 1 / 3)), seconds=2.5)
    write_record(str(tmp_path), record)
    assert read_record(str(tmp_path), 3) == record
    assert read_record(str(tmp_path), 4) is None
    assert (record.labels, TrialRecord(0, {}, "refused").labels) == (100, 0)


def test_records_come_in_the_order_that_was_asked_for_without_those_that_are_missing(tmp_path):
    for index in (0, 2, 5):
        write_record(str(tmp_path), TrialRecord(index, {}, "finished"))
    assert [record.index for record in read_records(str(tmp_path), range(4))] == [0, 2]


def test_a_damaged_record_is_named(tmp_path):
    for content in ("{", "{}", '{"curve": [], "index": 1, "colour": 2}'):
        (tmp_path / "001.json").write_text(content)
        with pytest.raises(RunError, match=r"001\.json: not a trial's record"):
            read_record(str(tmp_path), 1)


def test_equal_overrides_have_one_name_and_others_another():
    assert digest_of({"a": 1.0, "b": [1]}) == digest_of({"b": [1], "a": 1.0}) != digest_of({"a": 1.5, "b": [1]})
