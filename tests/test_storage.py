"""Files appear whole or not at all, and exactly one of many creators wins."""

import errno
import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import fs

from xmr_ray import storage
from xmr_ray.errors import StorageError

TABLE = pa.table({"pair_id": pa.array([4, 9, 2], pa.int64()), "score": pa.array([0.5, 1.5, 2.5])})


def write_table(path):
    storage.write_table(path, TABLE)


def write_bytes(path):
    storage.write_whole(path, b"new")


def everything_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def full_disk(monkeypatch):
    """The disk fills after a few bytes have been written."""

    def put(path, data):
        Path(path).write_bytes(data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def put_table(_table, path, **_options):
        put(path, b"PAR1")

    monkeypatch.setattr(storage, "_put", put)
    monkeypatch.setattr(storage.pq, "write_table", put_table)


# ---- whole or not at all


@pytest.mark.parametrize("write", [write_bytes, write_table])
def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path, full_disk, write):
    path = tmp_path / "receipt"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match=r"receipt: cannot be written .*No space left.*nothing was replaced"):
        write(str(path))
    assert path.read_bytes() == b"old"
    assert everything_below(tmp_path) == ["receipt"]


def test_a_full_disk_creates_nothing_exclusively(tmp_path, full_disk):
    with pytest.raises(StorageError, match="No space left"):
        storage.create_exclusive(str(tmp_path / "lock"), b"me")
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_after_the_bytes_leaves_the_old_file_too(tmp_path, monkeypatch, failing):
    path = tmp_path / "receipt"
    path.write_bytes(b"old")

    def fail(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(storage.os, failing, fail)
    with pytest.raises(StorageError, match="Input/output error"):
        write_bytes(str(path))
    assert path.read_bytes() == b"old"
    assert everything_below(tmp_path) == ["receipt"]


def test_the_final_name_appears_after_the_bytes_are_on_disk(tmp_path, monkeypatch):
    path, steps = tmp_path / "receipt", []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(storage.os, "fsync", lambda handle: (steps.append(("fsync", path.exists())), real_fsync(handle)))
    monkeypatch.setattr(storage.os, "replace", lambda a, b: (steps.append(("replace", path.exists())), real_replace(a, b)))
    write_bytes(str(path))
    assert steps == [("fsync", False), ("replace", False), ("fsync", True)]  # bytes, name, folder
    assert path.read_bytes() == b"new"


def test_the_first_error_is_told_when_tidying_fails_as_well(tmp_path, full_disk, monkeypatch):
    def fail(_path):
        raise StorageError("cannot be removed")

    monkeypatch.setattr(storage, "remove_file", fail)
    with pytest.raises(StorageError, match="No space left"):
        write_bytes(str(tmp_path / "receipt"))


def test_writing_makes_the_folders_and_replaces(tmp_path):
    path = str(tmp_path / "rounds" / "000" / "report.json")
    storage.write_whole(path, b"first")
    storage.write_whole(path, b"second")
    assert storage.read_bytes(path) == b"second"
    assert everything_below(tmp_path) == ["rounds/000/report.json"]


def test_a_finished_temporary_takes_its_final_name(tmp_path):
    path = str(tmp_path / "shard.parquet")
    temporary = storage.temporary_name(path)
    Path(temporary).write_bytes(b"shard")
    assert storage.list_names(str(tmp_path)) == []
    storage.commit_file(temporary, path)
    assert storage.list_names(str(tmp_path)) == ["shard.parquet"]
    assert storage.read_bytes(path) == b"shard"


# ---- exclusive creation


def test_of_many_creators_one_wins(tmp_path):
    path, num_threads = str(tmp_path / "run" / "lock"), 16
    barrier, won = threading.Barrier(num_threads), []

    def create(number):
        barrier.wait()
        if storage.create_exclusive(path, str(number).encode() * 1000):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read_bytes(path) == str(won[0]).encode() * 1000
    assert everything_below(tmp_path) == ["run/lock"]


def test_exclusive_creation_needs_hard_links_and_a_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="folder cannot be created"):
        storage.create_exclusive(str(tmp_path / "file" / "lock"), b"me")


def test_far_away_creation_is_the_object_stores(monkeypatch):
    asked = []
    monkeypatch.setattr(storage.object_store, "create", lambda path, data: asked.append((path, data)))
    storage.create_exclusive("mock://lock", b"me")
    assert asked == [("mock://lock", b"me")]


# ---- Parquet


def test_a_table_comes_back_and_so_do_chosen_columns(tmp_path):
    path = str(tmp_path / "scores.parquet")
    write_table(path)
    assert storage.read_table(path).equals(TABLE)
    assert storage.read_table(path, ["score"]).column_names == ["score"]
    with pytest.raises(StorageError, match=r"has no column 'entropy'; it holds \['pair_id', 'score'\]"):
        storage.read_table(path, ["score", "entropy"])


def test_a_flipped_byte_in_a_page_is_noticed(tmp_path):
    path = tmp_path / "features.parquet"
    features = np.random.default_rng(0).bytes(4096)
    storage.write_table(str(path), pa.table({"image": pa.array([features], pa.binary(4096))}))
    data = bytearray(path.read_bytes())
    data[data.index(features[2000:2032])] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"features\.parquet: cannot be read as Parquet .*CRC"):
        storage.read_table(str(path))


@pytest.mark.parametrize("size", [0, 3, 100])
def test_a_file_cut_short_is_noticed(tmp_path, size):
    path = tmp_path / "scores.parquet"
    write_table(str(path))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StorageError, match="cannot be read as Parquet"):
        storage.read_table(str(path))


# ---- looking and removing


def test_listing_is_sorted_and_hides_what_is_unfinished(tmp_path):
    for name in ("b", "a", "c.part-0123456789ab"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    assert storage.list_names(str(tmp_path)) == ["a", "b", "folder"]
    assert storage.list_names(str(tmp_path / "absent")) == []
    with pytest.raises(StorageError, match="cannot be listed"):
        storage.list_names(str(tmp_path / "a"))


def test_exists_size_and_removal(tmp_path):
    folder, file = str(tmp_path / "rounds"), str(tmp_path / "rounds" / "a")
    assert (storage.exists(file), storage.size_of(file)) == (False, None)
    storage.write_whole(file, b"1234")
    assert (storage.exists(file), storage.size_of(file), storage.size_of(folder)) == (True, 4, None)
    for _ in range(2):  # the second time there is nothing left to remove
        storage.remove_file(file)
        assert not storage.exists(file)
    storage.make_folder(folder)
    for _ in range(2):
        storage.remove_folder(folder)
        assert not storage.exists(folder)


def test_a_folder_cannot_be_made_below_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="folder cannot be created"):
        storage.make_folder(str(tmp_path / "file" / "below"))


def test_what_cannot_be_read_is_named(tmp_path):
    absent = str(tmp_path / "absent")
    for read in (storage.read_bytes, storage.read_table, storage.digest_file):
        with pytest.raises(StorageError, match=f"^{absent}: cannot be read"):
            read(absent)


# ---- addresses and hashes


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.resolve("runs")[1] == str(tmp_path / "runs")
    assert storage.resolve("~/runs")[1] == str(Path.home() / "runs")
    assert storage.is_local("runs")
    assert storage.is_local(f"file://{tmp_path}/runs")
    assert not storage.is_local("mock://runs")
    with pytest.raises(StorageError, match="nowhere://x: no file system for this address"):
        storage.resolve("nowhere://x")
    assert storage.join("runs/", "000", "report.json") == "runs/000/report.json"


def test_a_file_address_writes_where_the_path_does(tmp_path):
    write_bytes(f"file://{tmp_path}/a")
    assert storage.read_bytes(str(tmp_path / "a")) == b"new"


def test_on_other_file_systems_a_move_commits(tmp_path, monkeypatch):
    inside = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())  # stands for a remote one: not a LocalFileSystem
    monkeypatch.setattr(storage, "resolve", lambda path: (inside, path.removeprefix("far://")))
    storage.write_whole("far://rounds/a", b"new")
    storage.write_table("far://rounds/b", TABLE)
    assert storage.list_names("far://rounds") == ["a", "b"]
    assert storage.read_table("far://rounds/b").equals(TABLE)
    assert everything_below(tmp_path) == ["rounds/a", "rounds/b"]


@pytest.mark.parametrize("num_bytes", [0, 1, (8 << 20) + 1])
def test_digests_equal_hashlib(tmp_path, num_bytes):
    data, path = b"x" * num_bytes, tmp_path / "data"
    path.write_bytes(data)
    assert storage.digest_bytes(data) == storage.digest_file(str(path)) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("remove", ["remove_file", "remove_folder"])
def test_what_cannot_be_removed_is_named(tmp_path, monkeypatch, remove):
    path = tmp_path / "x"
    path.mkdir() if remove == "remove_folder" else path.write_text("")

    class Stuck:
        get_file_info = staticmethod(lambda inner: storage.fs.LocalFileSystem().get_file_info(inner))

        @staticmethod
        def delete_dir(_):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

        delete_file = delete_dir

    monkeypatch.setattr(storage, "resolve", lambda given: (Stuck, given))
    with pytest.raises(StorageError, match=r"x: cannot be removed .*Permission denied.*start again"):
        getattr(storage, remove)(str(path))
