import pyarrow as pa
import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.labels import LabelColumn


def surveyed(*columns, names=None, multi_label="auto"):
    labels = LabelColumn(names, multi_label=multi_label)
    for column in columns:
        labels.survey(column, where="file")
    labels.finish(where="file")
    return labels


@pytest.mark.parametrize(
    ("column", "names", "expected", "class_names", "multi_label"),
    [
        (pa.array([["b", "a"], [], ["c"]]), None, [[1, 0], [], [2]], ("a", "b", "c"), True),
        (pa.array(["b", "a", "b"]), None, [[1], [0], [1]], ("a", "b"), False),
        (pa.array(["b", "a", "b"]).dictionary_encode(), None, [[1], [0], [1]], ("a", "b"), False),
        (pa.array(["b"]), ("z", "b"), [[1]], ("z", "b"), False),
        (pa.array([3, 0]), None, [[3], [0]], ("class-0", "class-1", "class-2", "class-3"), False),
        (pa.array([[1], [0]]), ("x", "y"), [[1], [0]], ("x", "y"), False),
        (pa.array([[9], [1, 0], [1]]).slice(1), None, [[1, 0], [1]], ("class-0", "class-1"), True),
        (pa.array([[1, 0]], type=pa.large_list(pa.int16())), None, [[1, 0]], ("class-0", "class-1"), True),
    ],
)
def test_columns_that_are_understood(column, names, expected, class_names, multi_label):
    labels = surveyed(column, names=names)
    assert labels.numbers(column, where="file") == expected
    assert (labels.class_names, labels.multi_label) == (class_names, multi_label)


def test_names_are_gathered_over_all_files():
    assert surveyed(pa.array(["b"]), pa.array(["a"])).class_names == ("a", "b")


def test_setting_decides_over_what_occurs():
    assert surveyed(pa.array(["a"]), multi_label=True).multi_label is True


def test_no_rows():
    empty = pa.array([], type=pa.list_(pa.int32()))
    assert surveyed(empty, names=("a",)).numbers(empty, where="file") == []


@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        ([pa.array(["a", None])], None, "null label in row 1"),
        ([pa.array([["a", None]])], None, "1 null elements"),
        ([pa.array([0.5])], None, "labels are double"),
        ([pa.array(["a"]), pa.array([1])], None, "names in some files and numbers in others"),
        ([pa.array(["horse"])], ("cat",), r"label 'horse' is not among class_names \(cat\)"),
    ],
)
def test_columns_that_are_not(columns, names, message):
    with pytest.raises(ReaderError, match=f"^file: .*{message}"):
        surveyed(*columns, names=names)
