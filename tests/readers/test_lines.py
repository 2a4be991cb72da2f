import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmr_ray.errors import ReaderError
from xmr_ray.readers import lines
from xmr_ray.readers.lines import LineFile, lines_of, text_of


@pytest.fixture
def write(tmp_path):
    def put(data, name="file.txt"):
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return put


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a\r\nb \r\n\r\n", ["a", "b"]),
        (b"a\n\n b", ["a", "", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"", []),
        (b"x\x0by\xc2\x85z\n", ["x\x0by\x85z"]),
    ],
)
def test_lines_without_their_ends(write, data, expected):
    assert lines_of(write(data)) == expected


def test_other_encoding_is_named_with_its_line(write):
    path = write(b"one\ntw\xf6\n")
    with pytest.raises(ReaderError, match=r"file.txt: line 2 is not utf-8-sig .* set `encoding`"):
        text_of(path)
    assert lines_of(path, encoding="latin-1") == ["one", "twö"]


@pytest.mark.parametrize("read", [text_of, LineFile.open])
def test_missing_file(tmp_path, read):
    with pytest.raises(ReaderError, match=r"none.txt: no such file; correct the paths"):
        read(str(tmp_path / "none.txt"))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.sampled_from(["1 2", "", "0 1 1 ", "7", " 11"]), min_size=1, max_size=12),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    block=st.integers(1, 9),
    data=st.data(),
)
def test_lines_by_number_are_those_of_a_loop(tmp_path_factory, rows, end, last, block, data):
    path = tmp_path_factory.mktemp("lines") / "x.dat"
    path.write_bytes((end.join(rows) + (end if last else "")).encode())
    expected = [row.strip() for row in rows]
    while expected and not expected[-1]:
        expected.pop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", block)
        patch.setattr(lines, "GAP_BYTES", block)
        file = LineFile.open(str(path))
        assert file.num_lines == len(expected)
        assert file.count("1").tolist() == [row.count("1") for row in expected]
        if expected:
            wanted = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=8))
            assert file.take(wanted) == [expected[i].encode() for i in wanted]


def test_numbers_of_lines(write):
    file = LineFile.open(write(b"1.5 -2 \t\r\n1e-3 4 \r\n0 nan\n\n"))
    assert np.array_equal(file.numbers([1, 0], width=2), np.array([[1e-3, 4], [1.5, -2]], dtype=np.float32))
    assert file.numbers([], width=2).shape == (0, 2)
    assert np.isnan(file.numbers([2], width=2)[0, 1])


@pytest.mark.parametrize(("row", "message"), [(b"1 2 3", "line 2 has 3 numbers, expected 2"), (b"1 x", "line 2: .*'x'.*; expected 2 numbers")])
def test_lines_that_are_not_numbers(write, row, message):
    with pytest.raises(ReaderError, match=message):
        LineFile.open(write(b"1 2\n" + row + b"\n")).numbers([0, 1], width=2)
