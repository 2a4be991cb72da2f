import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.label_words import LabelWords


def understood(cells, names=None, *, multi_label="auto", separator=None):
    labels = LabelWords(names, multi_label=multi_label, separator=separator)
    labels.survey(cells[:2], where="file")
    labels.survey(cells[2:], where="file", first_row=2)
    labels.finish(where="file")
    return labels, labels.numbers(cells, where="file", rows=range(len(cells)))


@pytest.mark.parametrize(
    ("cells", "settings", "expected", "class_names", "multi_label"),
    [
        (["cat", "dog", "cat"], {}, [[0], [1], [0]], ("cat", "dog"), False),
        (["dog; cat", "", "bird;"], {"separator": ";"}, [[2, 1], [], [0]], ("bird", "cat", "dog"), True),
        (["a|b", "b", "a"], {"separator": "|"}, [[0, 1], [1], [0]], ("a", "b"), True),
        (['["dog", "cat"]', "[]", ' ["cat"]'], {}, [[1, 0], [], [0]], ("cat", "dog"), True),
        (["[2, 0]", "[1]", "[0]"], {}, [[2, 0], [1], [0]], ("class-0", "class-1", "class-2"), True),
        (["2", "0", "1"], {}, [[2], [0], [1]], ("class-0", "class-1", "class-2"), False),
        (["2;0", "0", "1"], {"separator": ";", "names": ("x", "y", "z")}, [[2, 0], [0], [1]], ("x", "y", "z"), True),
        (["7", "1", "7"], {"names": ("1", "7")}, [[1], [0], [1]], ("1", "7"), False),
        ([[1, 0], [], [0]], {}, [[1, 0], [], [0]], ("class-0", "class-1"), True),
        ([["b"], ["a"], ["b", "b"]], {}, [[1], [0], [1]], ("a", "b"), True),
        ([1, 0, 1], {"names": ("x", "y")}, [[1], [0], [1]], ("x", "y"), False),
        (["cat", "cat", "cat"], {"multi_label": True}, [[0], [0], [0]], ("cat",), True),
        ([[], [], []], {"names": ("x",)}, [[], [], []], ("x",), True),
    ],
)
def test_cells_that_are_understood(cells, settings, expected, class_names, multi_label):
    labels, found = understood(cells, **settings)
    assert found == [sorted(row) for row in expected]
    assert (labels.class_names, labels.multi_label) == (class_names, multi_label)


@pytest.mark.parametrize(
    ("cells", "settings", "message"),
    [
        ([["a"], None], {}, "row 1 holds None; expected class names or numbers"),
        ([["a"], ["a"], 0.5], {}, r"row 2 holds 0\.5"),
        ([[True]], {}, r"row 0 holds \[True\]"),
        (["[1, "], {}, r"row 0: '\[1, ' begins like a JSON list"),
        (["[1, null]"], {}, r"row 0 holds '\[1, null\]'"),
        ([["a"], [1]], {}, "names in some rows and numbers in others"),
        (["cat", "cow"], {"names": ("cat", "dog")}, "label 'cow' is not among class_names"),
        ([[0], [2]], {"names": ("a", "b")}, "label 2 is not the number of a class"),
        ([[0], [-1]], {}, "label -1 is not the number of a class"),
        (["a;b"], {"separator": ";", "multi_label": False}, "row 0 has 2 labels, but multi_label is false"),
    ],
)
def test_cells_that_are_not(cells, settings, message):
    with pytest.raises(ReaderError, match=f"^file: .*{message}"):
        understood(cells, **settings)
