from hashlib import sha256

import numpy as np
import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.listing import NUM_SAMPLES, SAMPLE_BYTES, files_at, names_and_samples


@pytest.fixture
def folder(tmp_path):
    for name, data in {"b.tar": b"12", "a.tar": b"1", "c.TAR": b"", "notes.txt": b"x"}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_file_folder_and_pattern(folder):
    assert files_at(f"{folder}/notes.txt", suffixes=(".tar",)) == [f"{folder}/notes.txt"]
    assert files_at(f"{folder}/", suffixes=(".tar",)) == [f"{folder}/{name}" for name in ("a.tar", "b.tar", "c.TAR")]
    assert files_at(f"{folder}/[ab].*", suffixes=()) == [f"{folder}/a.tar", f"{folder}/b.tar"]


@pytest.mark.parametrize(
    ("name", "message"), [("none", "no such file or folder"), ("*.zip", "no file matches"), ("", r"no \.csv or \.tsv file in this folder")]
)
def test_nothing_found_is_an_error(folder, name, message):
    with pytest.raises(ReaderError, match=message):
        files_at(f"{folder}/{name}", suffixes=(".csv", ".tsv"))


def test_files_are_absolute_whatever_was_given(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    for path in (folder.name, f"{folder.name}/*.tar", f"{folder.name}/a.tar"):
        assert files_at(path, suffixes=(".tar",))[0] == f"{folder}/a.tar"


def test_samples_do_not_tell_the_place(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "b.tar").write_bytes(b"12")
    assert names_and_samples([f"{other}/b.tar"]) == names_and_samples([f"{folder}/b.tar"]) == f"b.tar 2 {sha256(b'12').hexdigest()}"
    assert [line.split()[:2] for line in names_and_samples([f"{folder}/a.tar", f"{folder}/c.TAR"]).split("\n")] == [["a.tar", "1"], ["c.TAR", "0"]]


@pytest.mark.parametrize("size", [10, SAMPLE_BYTES + 1, 40 * SAMPLE_BYTES])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_files_of_equal_size_are_told_apart(folder, size, place):
    assert NUM_SAMPLES % 2 == 1  # one sample lies in the middle
    path, content = folder / "x.npy", np.random.default_rng(0).bytes(size)
    path.write_bytes(content)
    first = names_and_samples([str(path)])
    changed = bytearray(content)
    changed[round(place * (size - 1))] ^= 1
    path.write_bytes(changed)
    assert names_and_samples([str(path)]) != first
