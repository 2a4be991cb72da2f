"""What is told to Label Studio and what its exports say; the exports are hand-written after those of version 1.23.2."""

import logging
import xml.etree.ElementTree as ET

import pytest

from xmr_ray.errors import LedgerError
from xmr_ray.labels.label_studio_tasks import Batch, answers_of, check_classes, label_config, surplus, task_of
from xmr_ray.labels.questions import Answer, Question

BATCH = Batch("demo", 2)
NAMES = ("cat", "dog", 'a & <b> "q"')
AT = "2026-01-02T03:04:0{}.5Z"


def choices(name, *values):
    return {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": list(values)}}


def annotation(number, *regions, second=0, skipped=False, by=1):
    return {"id": number, "result": list(regions), "was_cancelled": skipped, "updated_at": AT.format(second), "completed_by": by}


def task(number, pair_id, *annotations, round_index=2, campaign="demo", drafts=()):
    data = {"pair_id": pair_id, "round": round_index, "campaign": campaign}
    return {"id": number, "data": data, "annotations": list(annotations), "drafts": list(drafts)}


@pytest.mark.parametrize(("multi_label", "choice"), [(True, "multiple"), (False, "single")])
def test_the_configuration_offers_each_class_by_its_exact_name_and_cannot_tell_apart(multi_label, choice):
    names = [*NAMES, "cannot tell", " two\nlines ", "$x", "caf\u00e9"]
    classes, cannot_tell = ET.fromstring(label_config(names, multi_label=multi_label)).findall("Choices")
    assert [found.get("value") for found in classes] == names
    assert classes.get("choice") == choice
    assert [found.get("value") for found in cannot_tell] == ["cannot tell"]
    assert {classes.get("toName"), cannot_tell.get("toName")} == {"image"}


def test_a_task_says_what_it_is_why_it_was_chosen_and_what_the_networks_think():
    question = Question(7, "a text", "s3://b/7.jpg", b"\xff\xd8\xff", {"cat": 0.25, "dog": 0.75}, {"utility": 0.5, "novelty": 1 / 3})
    made = task_of(question, BATCH, multi_label=True)
    assert made["data"] == {
        "pair_id": 7,
        "round": 2,
        "campaign": "demo",
        "text": "a text",
        "image": "data:image/jpeg;base64,/9j/",
        "uri": "s3://b/7.jpg",
        "why": "utility=0.5 novelty=0.3333",
    }
    assert made["predictions"] == [{"model_version": "round 2", "score": 0.25, "result": [choices("classes", "dog", "cat")]}]
    single = task_of(question, BATCH, multi_label=False)["predictions"]
    assert single == [{"model_version": "round 2", "score": 0.75, "result": [choices("classes", "dog")]}]


def test_a_task_without_text_picture_or_suggestion_shows_that_there_is_no_picture():
    made = task_of(Question(7), BATCH, multi_label=True)
    assert "predictions" not in made
    assert made["data"]["text"] == ""
    assert made["data"]["image"].startswith("data:image/svg+xml;base64,")


def test_the_four_things_that_a_person_can_say():
    tasks = [
        task(1, 10, annotation(1, choices("classes", "dog", "cat"))),
        task(2, 11, annotation(2)),
        task(3, 12, annotation(3, skipped=True)),
        task(4, 13, annotation(4, choices("cannot_tell", "cannot tell"), choices("classes", "cat"), by={"id": 3, "email": "ann@example.org"})),
        task(5, 14),
        task(6, 15, annotation(6, {"from_name": "remark", "type": "textarea", "value": {"text": ["nice"]}}, choices("classes", 'a & <b> "q"'))),
    ]
    assert answers_of(tasks, BATCH, NAMES, multi_label=True) == {
        10: Answer(10, (0, 1), "user 1"),
        11: Answer(11, (), "user 1"),
        12: Answer(12, None, "user 1"),
        13: Answer(13, None, "ann@example.org"),
        15: Answer(15, (2,), "user 1"),
    }


def test_with_a_single_label_an_empty_answer_is_no_class_that_can_be_told():
    tasks = [task(1, 10, annotation(1)), task(2, 11, annotation(2, choices("classes", "dog")))]
    assert answers_of(tasks, BATCH, NAMES, multi_label=False) == {10: Answer(10, None, "user 1"), 11: Answer(11, (1,), "user 1")}


def test_other_rounds_campaigns_and_tasks_made_by_hand_are_left_out():
    said = annotation(1, choices("classes", "dog"))
    by_hand = {"id": 9, "data": {"text": "x"}, "annotations": [said]}
    tasks = [task(1, 10, said, round_index=1), task(2, 11, said, campaign="demo2"), by_hand, task(3, 12, said)]
    assert list(answers_of(tasks, BATCH, NAMES, multi_label=True)) == [12]


def test_the_annotation_that_was_changed_last_counts_whatever_its_place_and_the_others_are_logged(caplog):
    first, last = annotation(5, choices("classes", "dog"), second=9, by=1), annotation(6, choices("classes", "cat"), second=1, by=2)
    with caplog.at_level(logging.WARNING):
        for pair in ([first, last], [last, first]):
            assert answers_of([task(1, 10, *pair)], BATCH, NAMES, multi_label=True) == {10: Answer(10, (1,), "user 1")}
        assert answers_of([task(1, 10, first), task(2, 10, last)], BATCH, NAMES, multi_label=True)[10].classes == (1,), "one pair in two tasks"
    assert len(caplog.records) == 3
    assert "pair_id=10 annotation=6 by='user 2' classes=(0,) overruled_by='user 1' classes_now=(1,)" in caplog.text


def test_annotators_who_agree_are_not_logged(caplog):
    with caplog.at_level(logging.WARNING):
        answers_of(
            [task(1, 10, annotation(5, choices("classes", "dog")), annotation(6, choices("classes", "dog"), by=2))], BATCH, NAMES, multi_label=True
        )
    assert not caplog.records


def test_a_class_that_the_corpus_does_not_have_is_an_error_that_names_the_task():
    with pytest.raises(LedgerError, match=r"task 1 \(pair_id 10\): annotation 5 says 'bird'"):
        answers_of([task(1, 10, annotation(5, choices("classes", "bird")))], BATCH, NAMES, multi_label=True)


def test_two_classes_for_a_single_label_are_an_error():
    with pytest.raises(LedgerError, match=r"annotation 5 says \['cat', 'dog'\], but a pair has one label"):
        answers_of([task(1, 10, annotation(5, choices("classes", "dog", "cat")))], BATCH, NAMES, multi_label=False)


@pytest.mark.parametrize(
    ("offered", "message"),
    [(["cat"], "the corpus, but not the project, has the class 'dog'"), (["cat", "dog", "x"], "the project, but not the corpus, has the class 'x'")],
)
def test_a_project_with_other_classes_is_refused(offered, message):
    project = {"id": 3, "title": "t", "parsed_label_config": {"classes": {"labels": offered}, "cannot_tell": {"labels": ["cannot tell"]}}}
    with pytest.raises(LedgerError, match=message):
        check_classes(project, ["cat", "dog"])
    check_classes(project, offered[::-1])


def test_a_project_without_cannot_tell_is_refused():
    with pytest.raises(LedgerError, match="no Choices named 'cannot_tell'"):
        check_classes({"id": 3, "title": "t", "parsed_label_config": {"classes": {"labels": ["cat"]}}}, ["cat"])


def test_only_tasks_that_nobody_worked_on_are_surplus():
    said = annotation(1, choices("classes", "dog"))
    tasks = [
        task(1, 10),
        task(2, 10),
        task(3, 11),
        task(4, 12),
        task(5, 12, said),
        task(6, 13, said),
        task(7, 13, said),
        task(8, 14),
        task(9, 14, drafts=[1]),
    ]
    assert surplus([*tasks, task(10, 11, round_index=1)], BATCH) == [2, 4, 8]
