import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.errors import LedgerError
from xmr_ray.labels.formats import LabelRow, format_of, read_rows, write_rows

CLASSES = ("cat", "dog, big", 'a "quoted" one', "ünïcode")
ENDINGS = {"csv": "x.csv", "jsonl": "x.jsonl", "coco": "x.json"}
LABELS = st.none() | st.lists(st.sampled_from(CLASSES), unique=True, max_size=3).map(tuple)


@pytest.mark.parametrize("form", list(ENDINGS))
@given(bought=st.dictionaries(st.integers(0, 2**62), LABELS, max_size=8))
def test_what_goes_out_comes_in_again_and_predicted_labels_do_not(form, bought):
    rows = [LabelRow(pair_id, labels) for pair_id, labels in bought.items()]
    predicted = [LabelRow(2**62 + 7, ("cat", "ünïcode"), trust=(0.91, 0.6)), LabelRow(2**62 + 8, (), trust=())]
    read = read_rows(write_rows([*rows, *predicted], form=form, class_names=CLASSES), name=ENDINGS[form])
    assert [(row.pair_id, row.labels) for row in read if row is not None] == list(bought.items())


def test_predicted_labels_stand_beside_bought_ones_with_their_trust():
    rows = [LabelRow(1, ("cat",)), LabelRow(2, None), LabelRow(3, ("ünïcode",), trust=(0.25,))]
    assert write_rows(rows, form="csv", class_names=CLASSES).decode().splitlines() == [
        "pair_id,labels,answer,trust",
        "1,cat,labelled,",
        "2,,cannot_tell,",
        "3,ünïcode,predicted,0.2500",
    ]
    lines = [json.loads(line) for line in write_rows(rows, form="jsonl", class_names=CLASSES).splitlines()]
    assert lines[1:] == [{"pair_id": 2, "labels": [], "cannot_tell": True}, {"pair_id": 3, "predicted": {"ünïcode": 0.25}}]
    coco = json.loads(write_rows(rows, form="coco", class_names=CLASSES))
    assert coco["images"] == [{"id": 1}, {"id": 2, "cannot_tell": True}, {"id": 3, "predicted": True}]
    assert coco["annotations"] == [{"id": 1, "image_id": 1, "category_id": 1}, {"id": 2, "image_id": 3, "category_id": 4, "score": 0.25}]


def test_coco_from_elsewhere_gives_every_class_once():
    coco = {
        "images": [{"id": 9, "file_name": "a.jpg"}, {"id": 4}],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 90, "name": "cat"}],
        "annotations": [{"image_id": 9, "category_id": c, "bbox": [0, 0, 1, 1]} for c in (90, 18, 90)],
    }
    rows = read_rows(json.dumps(coco).encode(), name="i.json")
    assert [(row.pair_id, row.labels) for row in rows] == [(9, ("cat", "dog")), (4, ())]
    coco["annotations"].append({"image_id": 9, "category_id": 1})
    assert "annotation number 3" in read_rows(json.dumps(coco).encode(), name="i.json")[0]
    coco["images"].append({"id": "nine"})
    assert "image number 2: id is 'nine'" in read_rows(json.dumps(coco).encode(), name="i.json")[-1]


def test_lines_are_counted_as_an_editor_counts_them():
    data = b'\xef\xbb\xbfpair_id,text,labels,answer\r\n\r\n1,"two\r\nlines",cat;dog,labelled\r\n2,,,\r\n3,,,cannot_tell\r\nx,,cat,\r\n'
    read = read_rows(data, name="a.csv")
    assert [(row.line, row.pair_id, row.labels) for row in (read[0], read[2])] == [(3, 1, ("cat", "dog")), (6, 3, None)]
    assert read[1] is None
    assert read[3] == "a.csv:7: pair_id is 'x', expected a whole number"


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.csv", b"pair,labels\n1,cat\n", "a.csv:1: no column 'pair_id'"),
        ("a.csv", b"", "a.csv:1: no column 'pair_id'"),
        ("a.csv", b"pair_id,labels,answer\n1,cat,maybe\n", "a.csv:2: answer is 'maybe'"),
        ("a.csv", b"pair_id,labels,answer\n1,cat,cannot_tell\n", "a.csv:2: pair_id 1 has labels and cannot_tell"),
        ("a.csv", b"pair_id,labels,answer\n1,cat\n", "a.csv:2: as many cells"),
        ("a.csv", b'pair_id,labels,answer\n1,"cat"x,labelled\n', "a.csv:2: not CSV"),
        ("a.csv", b"pair_id,labels,answer\n1,\xff,labelled\n", "a.csv: byte 24 is not UTF-8"),
        ("a.jsonl", b'{"pair_id": 1, "labels": ["cat"]', "a.jsonl:1: not JSON"),
        ("a.jsonl", b'\n{"pair_id": true, "labels": ["cat"]}', "a.jsonl:2: expected"),
        ("a.jsonl", b'{"pair_id": 1, "labels": "cat"}', "a.jsonl:1: labels are 'cat', expected a list"),
        ("a.jsonl", b'{"pair_id": 1, "labels": ["cat"], "cannot_tell": true}', "a.jsonl:1: pair_id 1 has labels and cannot_tell"),
        ("a.jsonl", b'{"pair_id": 1, "cannot_tell": "yes"}', "a.jsonl:1: cannot_tell is 'yes'"),
        ("a.jsonl", b"[1, 2]", "a.jsonl:1: expected"),
        ("a.json", b"{}", "a.json: not COCO instances"),
        ("a.json", b'{"images": [{"id": 1}], "categories": [], "annotations": [{"image_id": [1], "category_id": 1}]}', "a.json: not COCO instances"),
        ("a.json", b'{"images": [{"id": 1}, {"id": 1}], "categories": [], "annotations": []}', "a.json: image id 1 is there twice"),
        ("a.json", b"[" * 100_000, "a.json: not COCO instances"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(name, data, problem):
    assert [line for line in read_rows(data, name=name) if str(line).startswith(problem)]


def test_other_files_and_names_that_csv_cannot_hold_are_refused():
    with pytest.raises(LedgerError, match=r"answers\.xlsx: labels are read from"):
        format_of("answers.xlsx")
    with pytest.raises(LedgerError, match="'a;b' holds a ';'"):
        write_rows([], form="csv", class_names=("a;b",))
