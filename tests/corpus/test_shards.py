import errno

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmr_ray.corpus import shards
from xmr_ray.corpus.shards import ShardWriter
from xmr_ray.errors import StorageError
from xmr_ray.storage import digest_file

SCHEMA = pa.schema([pa.field("pair_id", pa.int64(), nullable=False), pa.field("labels", pa.list_(pa.field("element", pa.int32(), nullable=False)))])


def table(start, stop):
    return pa.table({"pair_id": range(start, stop), "labels": [[i] for i in range(start, stop)]}, schema=SCHEMA)


def write(root, sizes, **options):
    writer, row = ShardWriter(str(root), "s/part-{:02d}.parquet", SCHEMA, **options), 0
    for size in sizes:
        writer.append(table(row, row + size))
        row += size
    return writer.close()


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 23), min_size=1, max_size=6))
def test_rows_do_not_depend_on_how_they_came(tmp_path_factory, sizes):
    root = tmp_path_factory.mktemp("shards")
    entries = write(root, sizes, rows_per_file=10, row_group_rows=4)
    groups = [group for entry in entries for group in entry.row_groups]
    total = sum(sizes)
    full_files = [4, 4, 2] * (total // 10)
    rest = total % 10
    assert groups == full_files + [4] * (rest // 4) + ([rest % 4] if rest % 4 else [])
    found = [value for entry in entries for value in pq.read_table(root / entry.file).column("pair_id").to_pylist()]
    assert found == list(range(total))


def test_bytes_do_not_depend_on_how_rows_came(tmp_path):
    one = write(tmp_path / "a", [25], rows_per_file=10, row_group_rows=4)
    other = write(tmp_path / "b", [1, 3, 7, 14], rows_per_file=10, row_group_rows=4)
    assert one == other


def test_entry_says_what_lies_on_disk(tmp_path):
    (entry,) = write(tmp_path, [9], rows_per_file=10, row_group_rows=4)
    path = tmp_path / entry.file
    assert (entry.rows, entry.row_groups, entry.bytes) == (9, (4, 4, 1), path.stat().st_size)
    assert entry.sha256 == digest_file(str(path))
    assert pq.ParquetFile(path).metadata.num_row_groups == 3


def test_hook_sees_every_row_group(tmp_path):
    seen = []
    write(tmp_path, [3, 6], rows_per_file=8, row_group_rows=4, on_row_group=lambda part: seen.append(len(part)))
    assert seen == [4, 4, 1]


def test_abort_leaves_nothing(tmp_path):
    writer = ShardWriter(str(tmp_path), "s/part-{:02d}.parquet", SCHEMA, rows_per_file=4, row_group_rows=2)
    writer.append(table(0, 7))
    assert list((tmp_path / "s").iterdir())
    writer.abort()
    assert list((tmp_path / "s").iterdir()) == []


def test_full_disk_names_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    writer = ShardWriter(str(tmp_path), "s/part-{:02d}.parquet", SCHEMA, rows_per_file=4, row_group_rows=2)
    writer.append(table(0, 3))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "commit_file", full)
    with pytest.raises(StorageError, match=r"part-00\.parquet: cannot be finished .*No space left"):
        writer.close()
    writer.abort()
    assert list((tmp_path / "s").iterdir()) == []


def test_unwritable_folder_names_the_path(tmp_path):
    (tmp_path / "s").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot be created"):
        write(tmp_path, [1], rows_per_file=4, row_group_rows=2)
