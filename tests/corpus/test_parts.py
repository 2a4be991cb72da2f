import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.corpus.parts import (
    check_ids,
    plan_parts,
    read_failures,
    read_reports,
    remove_strangers,
    suggest_row_group,
    version_of,
    write_failure,
    write_part,
)
from xmr_ray.corpus.raw import Reject
from xmr_ray.corpus.schema import CorpusSchema, PairRecords
from xmr_ray.corpus.sinks import PAIRS, TRUTH, PairSink
from xmr_ray.errors import CorpusError, StorageError
from xmr_ray.storage import read_table

SCHEMA = CorpusSchema(image_dim=3, text_dim=2, class_names=("a", "b"))
VERSION = version_of(SCHEMA)


def records(ids, labels=True):
    ids = np.asarray(ids, np.int64)
    image = np.outer(ids + 1.0, [1.0, 2.0, 3.0]).astype(np.float32)
    return PairRecords(ids, image, image[:, :2], [[int(i) % 2] for i in ids] if labels else None)


def write(root, part, batches, rows=4):
    return write_part(str(root), part, batches, sink=PairSink(str(root), part, SCHEMA), version=VERSION, row_group_rows=rows)


@pytest.mark.parametrize("rows_per_file", [1, 3, 10, 99])
def test_every_row_is_in_one_part(rows_per_file):
    counts = {"test": 7, "train": 20, "validation": 0}
    parts = plan_parts(counts, rows_per_file=rows_per_file)
    assert [part.split for part in parts] == sorted((part.split for part in parts), key=["train", "validation", "test"].index)
    for split, count in counts.items():
        covered = [row for part in parts if part.split == split for row in range(part.start, part.stop)]
        assert covered == list(range(count))
    assert max(part.stop - part.start for part in parts) == min(rows_per_file, 20)


def test_files_of_no_rows_are_refused():
    with pytest.raises(CorpusError, match="rows_per_file=0"):
        plan_parts({"train": 3}, rows_per_file=0)


def test_a_part_is_one_file_a_kind_and_its_bytes_do_not_depend_on_batches(tmp_path):
    (part,) = plan_parts({"train": 10}, rows_per_file=10)
    whole = write(tmp_path / "a", part, [records(range(10))])
    pieces = write(tmp_path / "b", part, [records([0]), records(range(1, 8)), records([8, 9])])
    assert whole.model_copy(update={"seconds": 0}) == pieces.model_copy(update={"seconds": 0})
    assert {kind: entry.file for kind, entry in whole.files.items()} == {PAIRS: "train/pairs-00000.parquet", TRUTH: "truth/train-00000.parquet"}
    assert whole.files[PAIRS].row_groups == (4, 4, 2)
    assert (whole.lowest_id, whole.highest_id, whole.num_rows) == (0, 9, 10)
    assert read_reports(str(tmp_path / "a"), [part], version=VERSION)[part.name] == whole


def test_rejects_are_written_with_their_reasons_and_counted(tmp_path):
    (part,) = plan_parts({"train": 4}, rows_per_file=10)
    report = write(tmp_path, part, [records([1]), Reject(2, "x.jpg", "zero bytes"), records([3, 4])])
    assert (report.num_rows, report.num_rejected) == (3, 1)
    lines = (tmp_path / "rejects" / "train-00000.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"pair_id": 2, "uri": "x.jpg", "reason": "zero bytes"}]
    assert read_table(str(tmp_path / "train/pairs-00000.parquet"))["pair_id"].to_pylist() == [1, 3, 4]
    write(tmp_path, part, [records([1, 2, 3, 4])])
    assert not (tmp_path / "rejects" / "train-00000.jsonl").exists()


def test_a_part_of_rejects_alone_has_no_file(tmp_path):
    (part,) = plan_parts({"train": 1}, rows_per_file=10)
    assert write(tmp_path, part, [Reject(2, None, "broken")]).files == {}


def test_what_breaks_off_leaves_no_file_and_no_report(tmp_path):
    (part,) = plan_parts({"train": 9}, rows_per_file=10)

    def breaks():
        yield records(range(5))
        raise StorageError("gone")

    with pytest.raises(StorageError, match="gone"):
        write(tmp_path, part, breaks())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert read_reports(str(tmp_path), [part], version=VERSION) == {}


def test_an_id_repeated_within_a_part_is_named_by_its_row_in_the_split(tmp_path):
    parts = plan_parts({"train": 9}, rows_per_file=5)
    with pytest.raises(CorpusError, match=r"train row 8 \(pair_id 6\): pair_id is repeated"):
        write(tmp_path, parts[1], [records([5, 6, 7, 6])])


def test_an_id_in_two_parts_is_found_and_parts_apart_are_not_read(tmp_path):
    parts = plan_parts({"train": 12}, rows_per_file=4)
    reports = [write(tmp_path, part, [records(ids)]) for part, ids in zip(parts, ([0, 1, 9], [5, 9, 11], [20, 21, 22]), strict=True)]
    with pytest.raises(CorpusError, match=r"train row 5 \(pair_id 9\): pair_id is repeated"):
        check_ids(str(tmp_path), reports, pairs_kind=PAIRS)
    for path in (tmp_path / "train").iterdir():
        path.unlink()
    check_ids(str(tmp_path), [reports[0], reports[2]], pairs_kind=PAIRS)


def test_overlapping_ranges_without_a_common_id_are_lawful(tmp_path):
    parts = plan_parts({"train": 8}, rows_per_file=4)
    reports = [write(tmp_path, part, [records(ids)]) for part, ids in zip(parts, ([0, 2, 4, 6], [1, 3, 5, 7]), strict=True)]
    check_ids(str(tmp_path), reports, pairs_kind=PAIRS)


def test_reports_of_another_source_another_cut_or_another_format_do_not_count(tmp_path):
    (part,) = plan_parts({"train": 4}, rows_per_file=10)
    write(tmp_path, part, [records(range(4))])
    assert read_reports(str(tmp_path), [part], version="another") == {}
    assert read_reports(str(tmp_path), plan_parts({"train": 3}, rows_per_file=10), version=VERSION) == {}
    Path(tmp_path, "parts", "train-00000.json").write_text('{"part": 1}')
    assert read_reports(str(tmp_path), [part], version=VERSION) == {}


def test_a_failure_is_remembered_until_the_part_is_made_or_the_source_changes(tmp_path):
    (part,) = plan_parts({"train": 4}, rows_per_file=10)
    write_failure(str(tmp_path), part, StorageError("no disk"), version=VERSION)
    assert read_failures(str(tmp_path), [part], version=VERSION) == {"train-00000": "no disk"}
    assert read_failures(str(tmp_path), [part], version="mended") == {}
    write(tmp_path, part, [records(range(4))])
    assert read_failures(str(tmp_path), [part], version=VERSION) == {}


def test_strangers_are_removed_and_nothing_else(tmp_path):
    ours = ["train/pairs-00000.parquet", "train/pairs-00001.parquet", "train/raw-00001.parquet.part-0a1b2c3d4e5f", "train/train-00001.failed.json"]
    theirs = ["train/000001.jpg", "train/pairs.parquet", "train/raw-1.parquet", "other/pairs-00000.parquet"]
    for name in (*ours, *theirs):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    remove_strangers(str(tmp_path), ["train", "absent"], ours[:1])
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {*ours[:1], *theirs}


def test_a_part_of_another_source_that_breaks_off_does_not_leave_the_old_report(tmp_path):
    (part,) = plan_parts({"train": 4}, rows_per_file=10)
    write(tmp_path, part, [records(range(4))])

    def breaks_off():
        yield records([7])
        raise CorpusError("broken")

    with pytest.raises(CorpusError, match="broken"):
        write_part(str(tmp_path), part, breaks_off(), sink=PairSink(str(tmp_path), part, SCHEMA), version="other", row_group_rows=4)
    assert read_reports(str(tmp_path), [part], version=VERSION) == {}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
@pytest.mark.parametrize("name", ["train/pairs-00000.parquet", "truth/train-00000.parquet"])
def test_a_part_that_lost_a_file_is_not_whole(tmp_path, name, damage):
    (part,) = plan_parts({"train": 4}, rows_per_file=10)
    write(tmp_path, part, [records(range(4))])
    assert list(read_reports(str(tmp_path), [part], version=VERSION)) == [part.name]
    damage(tmp_path / name)
    assert read_reports(str(tmp_path), [part], version=VERSION) == {}


@given(st.integers(1, 10**6))
def test_suggested_row_group_is_the_largest_that_gives_eight(num_rows):
    size = suggest_row_group(num_rows)
    lawful = [power for power in (128, 256, 512, 1024, 2048, 4096) if -(-num_rows // power) >= 8]
    assert size == max(lawful, default=128)
