import io
import tarfile

import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.tar_shards import scan_tar


def write_tar(path, members):
    """Members are (name, bytes) or whole TarInfo objects without data."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return str(path)


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


SAMPLES = [("000.jpg", b"first image"), ("000.txt", b"one"), ("000.json", b"{}"), ("001.png", b"second"), ("001.txt", b""), ("002.txt", b"lonely")]


def test_parts_of_complete_samples(tmp_path):
    shard = scan_tar(write_tar(tmp_path / "0.tar", SAMPLES))
    assert (list(shard.keys), shard.num_incomplete) == (["000", "001"], 1)
    assert shard.parts([1, 0], "image") == [b"second", b"first image"]
    assert shard.parts([0, 1], "txt") == [b"one", b""]
    assert shard.parts([0, 1], "json") == [b"{}", None]


def test_names_as_they_occur(tmp_path):
    long = "a" * 150  # needs a header of its own
    members = [("./a/7.JPG", b"1"), ("./a/7.txt", b"2"), ("b/7.webp", b"3"), ("b/7.txt", b"4"), (f"{long}.jpeg", b"5"), (f"{long}.txt", b"6")]
    extra = [special("a", tarfile.DIRTYPE), ("._7.txt", b"x"), ("a/7.cls", b"9"), ("a/7.depth.png", b"9"), ("notes", b"x")]
    shard = scan_tar(write_tar(tmp_path / "0.tar", members + extra))
    assert list(shard.keys) == ["a/7", "b/7", long]
    assert shard.parts([0, 1, 2], "image") == [b"1", b"3", b"5"]


def test_required_parts_decide_what_is_complete(tmp_path):
    shard = scan_tar(write_tar(tmp_path / "0.tar", SAMPLES), required=("image", "json"))
    assert (list(shard.keys), shard.num_incomplete) == (["000"], 2)


def test_tar_without_members(tmp_path):
    assert len(scan_tar(write_tar(tmp_path / "0.tar", []))) == 0


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../evil.jpg", b"x"), r"member '\.\./evil\.jpg' leaves its folder"),
        (("/etc/evil.jpg", b"x"), "member '/etc/evil.jpg' leaves its folder"),
        (("a/../../evil.jpg", b"x"), "leaves its folder"),
        (special("000.txt", tarfile.SYMTYPE, "/etc/passwd"), r"member '000\.txt' is a link"),
        (special("000.txt", tarfile.LNKTYPE, "000.jpg"), r"member '000\.txt' is a link"),
        (special("pipe", tarfile.FIFOTYPE), "special file"),
        (("000.jpeg", b"x"), "sample '000' has its image twice"),
    ],
)
def test_members_that_must_not_be_there(tmp_path, member, message):
    with pytest.raises(ReaderError, match=rf"0\.tar: .*{message}"):
        scan_tar(write_tar(tmp_path / "0.tar", [*SAMPLES, member]))


def test_every_way_to_cut_a_tar_is_noticed(tmp_path):
    path = tmp_path / "0.tar"
    write_tar(path, SAMPLES)
    whole = path.read_bytes()
    end = 512 * 2 * 5 + 512 * 1  # five members with data, and the empty text
    for kept in (0, 100, 512, 1024, 1500, end - 512, end, end + 100):
        path.write_bytes(whole[:kept])
        with pytest.raises(ReaderError, match=r"0\.tar: .*cut short"):
            scan_tar(str(path))


def test_damaged_header_in_the_middle(tmp_path):
    path = tmp_path / "0.tar"
    write_tar(path, SAMPLES)
    data = bytearray(path.read_bytes())
    data[1024:1124] = b"\xff" * 100
    path.write_bytes(data)
    with pytest.raises(ReaderError, match=r"cut short or damaged after member '000\.jpg'"):
        scan_tar(str(path))


@pytest.mark.parametrize("data", [b"no tar at all" * 100, b"\x1f\x8b\x08" + bytes(600)])
def test_other_files_are_no_tars(tmp_path, data):
    (tmp_path / "0.tar").write_bytes(data)
    with pytest.raises(ReaderError, match=r"0\.tar: not a tar file"):
        scan_tar(str(tmp_path / "0.tar"))


def test_file_that_shrank_after_the_scan(tmp_path):
    shard = scan_tar(write_tar(tmp_path / "0.tar", SAMPLES))
    (tmp_path / "0.tar").write_bytes(b"")
    with pytest.raises(ReaderError, match="sample '000' is cut short"):
        shard.parts([0], "image")
