import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.listing import files_at, names_and_sizes


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


def test_names_and_sizes_do_not_tell_the_place(folder):
    assert names_and_sizes([f"{folder}/a.tar", f"{folder}/b.tar"]) == "a.tar 1\nb.tar 2"
