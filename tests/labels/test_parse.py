import json

import numpy as np
import pytest

from xmr_ray.labels.formats import LabelRow, write_rows
from xmr_ray.labels.parse import Rules, parse_answers
from xmr_ray.labels.questions import Answer

RULES = Rules(("cat", "dog", "tool"), multi_label=True, train_ids=np.arange(20), asked=np.array([3, 5, 8, 9]))


def csv(*lines):
    return "\n".join(["pair_id,labels,answer", *lines]).encode()


def test_good_answers_come_out_as_class_numbers_in_order():
    lines = [{"pair_id": 8, "labels": [], "annotator": "ann"}, {"pair_id": 9, "cannot_tell": True}]
    jsonl = "\n".join(json.dumps(line) for line in lines).encode()
    found = parse_answers({"a.csv": csv("5,tool;cat,labelled", "3,dog,", "9,,"), "b.jsonl": jsonl}, RULES)
    assert found.answers == (Answer(5, (0, 2)), Answer(3, (1,)), Answer(8, (), "ann"), Answer(9, None))
    assert (found.problems, found.num_same, found.num_blank) == ((), 0, 1)


def test_every_problem_is_found_with_its_line_and_good_answers_are_kept_apart():
    wrong = ("77,cat,labelled", "4,cat,labelled", "5,dgo,labelled", "8,cat,labelled", "8,dog,labelled", "3,cat,labelled", "x,,labelled")
    data = csv("3,cat,labelled", *wrong)
    found = parse_answers({"a.csv": data}, RULES)
    assert found.answers == (Answer(3, (0,)),)
    assert sorted(found.problems) == [
        "a.csv:3: pair_id 77 is no pair of the train split",
        "a.csv:4: pair_id 4 was not asked for in this round",
        "a.csv:5: 'dgo' is no class, did you mean 'dog'?",
        "a.csv:7: pair_id 8 contradicts a.csv:6",
        "a.csv:8: pair_id 3 is repeated, it was answered in line 2",
        "a.csv:9: pair_id is 'x', expected a whole number",
    ]


def test_the_same_answer_in_another_file_or_earlier_is_fine_and_another_one_is_not():
    rules = Rules(**{**vars(RULES), "earlier": {3: Answer(3, (0,), "ann"), 1: Answer(1, None), 5: Answer(5, None)}})
    found = parse_answers({"a.csv": csv("3,cat,labelled", "1,,cannot_tell", "8,dog,labelled"), "b.csv": csv("8,dog,labelled")}, rules)
    assert found.answers == (Answer(8, (1,)),)
    assert (found.num_same, found.problems) == (3, ())
    found = parse_answers({"a.csv": csv("3,cat;dog,labelled", "5,,labelled")}, rules)
    assert found.answers == ()
    assert found.problems == (
        "a.csv:2: pair_id 3 is cat and dog here, but was cat before; --replace takes the newer answer",
        "a.csv:3: pair_id 5 is without a class here, but was cannot_tell before; --replace takes the newer answer",
    )


def test_a_correction_is_an_answer_unless_the_earlier_one_is_paid_for():
    earlier = {3: Answer(3, (0,), "ann"), 1: Answer(1, None), 5: Answer(5, None), 9: Answer(9, ())}
    rules = Rules(**{**vars(RULES), "earlier": earlier, "paid": np.array([1]), "correct": True})
    found = parse_answers({"a.csv": csv("3,dog,labelled", "1,cat,labelled", "5,,cannot_tell", "8,dog,labelled", "9,,cannot_tell")}, rules)
    assert found.answers == (Answer(3, (1,)), Answer(8, (1,)), Answer(9, None))
    assert (found.num_corrected, found.num_same) == (2, 1)
    paid = "a.csv:3: pair_id 1 is cat here, but was cannot_tell before; that is paid for, and a closed purchase is never changed"
    assert found.problems == (paid,)
    within = parse_answers({"a.csv": csv("3,dog,labelled"), "b.csv": csv("3,tool,labelled")}, rules)
    assert (within.answers, within.problems) == ((), ("b.csv:2: pair_id 3 contradicts a.csv:2",))


def test_files_that_contradict_each_other_give_no_answer():
    found = parse_answers({"a.csv": csv("3,cat,labelled"), "b.csv": csv("3,,cannot_tell")}, RULES)
    assert found.answers == ()
    assert found.problems == ("b.csv:2: pair_id 3 contradicts a.csv:2",)


@pytest.mark.parametrize(("labels", "number"), [("cat;dog", 2), ("", 0)])
def test_where_every_pair_has_one_class_other_numbers_of_labels_are_refused(labels, number):
    rules = Rules(("cat", "dog"), multi_label=False, train_ids=np.arange(9))
    found = parse_answers({"a.csv": csv(f"3,{labels},labelled", "4,dog;dog,labelled", "5,,cannot_tell")}, rules)
    assert found.answers == (Answer(4, (1,)), Answer(5, None))
    assert found.problems == (f"a.csv:2: pair_id 3 has {number} labels, but every pair of this corpus has exactly one class",)


def test_without_a_question_every_train_pair_may_be_answered():
    rules = Rules(("cat",), multi_label=True, train_ids=np.arange(9))
    found = parse_answers({"a.csv": csv("0,cat,labelled", "9,cat,labelled")}, rules)
    assert found.answers == (Answer(0, (0,)),)
    assert found.problems == ("a.csv:3: pair_id 9 is no pair of the train split",)


def test_of_names_that_differ_in_blanks_the_exact_one_counts():
    rules = Rules(("cat ", "cat", " dog"), True, np.arange(9))
    lines = [{"pair_id": 1, "labels": ["cat "]}, {"pair_id": 2, "labels": ["cat"]}, {"pair_id": 3, "labels": ["dog", " cat"]}]
    parsed = parse_answers({"a.jsonl": "\n".join(map(json.dumps, lines)).encode()}, rules)
    assert [answer.classes for answer in parsed.answers] == [(0,), (1,), (1, 2)]
    assert parse_answers({"a.csv": b"pair_id,labels\n1,cow\n"}, rules).problems == ("a.csv:2: 'cow' is no class; there are 3 classes",)


def test_names_of_any_characters_come_out_as_their_numbers():
    names = ("a, b", 'say "x"', "=1+1", "caf\u00e9 \u2615", "</script>", "rock; roll")
    for form in ("csv", "jsonl", "json"):
        some = names if form != "csv" else names[:5]
        rows = [LabelRow(pair_id, (name,)) for pair_id, name in enumerate(some)]
        data = write_rows(rows, form="coco" if form == "json" else form, class_names=some)
        parsed = parse_answers({f"a.{form}": data}, Rules(names, False, np.arange(9)))
        assert (parsed.problems, [answer.classes for answer in parsed.answers]) == ((), [(k,) for k in range(len(some))])
