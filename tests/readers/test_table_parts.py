import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.table_parts import open_part


def opened(tmp_path, name, data, *, columns=("a", "b"), encoding="utf-8", delimiter=None):
    (tmp_path / name).write_bytes(data)
    return open_part(str(tmp_path / name), columns=columns, encoding=encoding, delimiter=delimiter)


def rows_of(part, columns=("a", "b"), *, start=0, stop=None, batch_rows=2):
    batches = part.batches(start, part.num_rows if stop is None else stop, columns, batch_rows=batch_rows)
    return [tuple(row.values()) for _, batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("name", "data", "options"),
    [
        ("x.csv", b'a,b,c\n1,x,9\n,"y, z",9\n3,"two\nlines",9\n', {}),
        ("x.csv", b'\xef\xbb\xbfa,b\r\n1,x\r\n,"y, z"\r\n3,"two\nlines"\r\n', {}),
        ("x.csv.gz", gzip.compress(b'b,a\nx,1\n"y, z",\n"two\nlines",3\n', mtime=0), {}),
        ("x.TSV", b'a\tb\n1\tx\n\ty, z\n3\t"two\nlines"\n', {}),
        ("x.csv", 'a;b\n1;x\n;y, z\n3;"two\nlines"\n'.encode("utf-16"), {"encoding": "utf-16", "delimiter": ";"}),
    ],
)
def test_csv_holds_words_in_every_column(tmp_path, name, data, options):
    assert rows_of(opened(tmp_path, name, data, **options)) == [("1", "x"), ("", "y, z"), ("3", "two\nlines")]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_json_lines(tmp_path, pack):
    data = '\ufeff{"a": 1, "b": "Zürich\u2028Ort"}\n\n{"b": null, "a": 2, "c": 0}\r\n{"a": 3}'.encode()
    name = "x.jsonl" if pack is bytes else "x.ndjson.gz"
    assert rows_of(opened(tmp_path, name, pack(data))) == [(1, "Zürich\u2028Ort"), (2, None), (3, None)]


def test_ranges_of_parquet(tmp_path):
    rows = [(i, f"word {i}") for i in range(20)]
    pq.write_table(pa.table({"a": [a for a, _ in rows], "b": [b for _, b in rows]}), tmp_path / "x.parquet", row_group_size=6)
    part = open_part(str(tmp_path / "x.parquet"), columns=["b"], encoding="utf-8", delimiter=None)
    for start, stop in [(0, 20), (0, 0), (5, 7), (6, 12), (17, 20), (3, 4)]:
        for batch_rows in (1, 4, 100):
            assert rows_of(part, start=start, stop=stop, batch_rows=batch_rows) == rows[start:stop]
            firsts = [first for first, _ in part.batches(start, stop, ["a"], batch_rows=batch_rows)]
            lengths = [len(batch) for _, batch in part.batches(start, stop, ["a"], batch_rows=batch_rows)]
            assert firsts == [start + sum(lengths[:i]) for i in range(len(lengths))]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.csv", b"a,c\n1,2\n", r"no column 'b'; it has a, c"),
        ("x.csv", b"a,b\n1,2\n3\n", r"cannot be read as CSV in utf-8 \(CSV parse error: Row #3"),
        ("x.csv", b"a,b\n\xff\xfe,2\n", "cannot be read as CSV in utf-8"),
        ("x.csv", b"", "cannot be read as CSV"),
        ("x.jsonl", b'{"a": 1, "b": 2}\n{"a": 1,', "line 2: not JSON"),
        ("x.jsonl", b'{"a": 1}\n[1]', r"line 2: '\[1\]' is no JSON object"),
        ("x.jsonl", b'{"a": 1, "c": 0}\n', "no line has the key 'b'; they have a, c"),
        ("x.jsonl", b'{"a": 1, "b": 0}\n{"a": "x", "b": 0}', "key 'a' holds values of different types"),
        ("x.jsonl", b"\xff", "not utf-8"),
        ("x.csv.gz", b"\x1f\x8b\x08broken", "cannot be unpacked"),
        ("x.parquet", b"words" * 9, "cannot be opened as Parquet"),
        ("x.xlsx", b"", "expected a file that ends in .csv"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, data, message):
    with pytest.raises(ReaderError, match=rf"{name}: .*{message}"):
        opened(tmp_path, name, data)


def test_parquet_damaged_in_the_middle(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": list(range(5000))}), path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[10_000] ^= 0xFF
    path.write_bytes(data)
    part = open_part(str(path), columns=["a"], encoding="utf-8", delimiter=None)
    with pytest.raises(ReaderError, match=r"x\.parquet: cannot be read"):
        rows_of(part, ["a"], batch_rows=1000)


def test_half_a_pair_of_surrogates_in_json_is_told(tmp_path):
    with pytest.raises(ReaderError, match=r"x\.jsonl: key 'a' holds what is no Unicode"):
        opened(tmp_path, "x.jsonl", b'{"a": "half \\ud83d"}\n')
