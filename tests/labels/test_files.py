import json
import re

import numpy as np
import pytest

from xmr_ray.labels.annotators import Answers, Pending
from xmr_ray.labels.answers import append_answers
from xmr_ray.labels.files import FilesAnnotator, page_of
from xmr_ray.labels.questions import Answer, Question
from xmr_ray.types import Selection

SELECTION = Selection(np.array([9, 2, 5]), np.array([0.9, 0.5, 0.1]), {"entropy": np.array([1.5, 1.0, 0.5])})


@pytest.fixture
def asked():
    return []


@pytest.fixture
def annotator(asked):
    def ask(selection):
        asked.append(selection.pair_ids_n.tolist())
        reasons = selection.reasons["entropy"].tolist()
        return [Question(i, f"pair {i}", reasons={"entropy": why}) for i, why in zip(selection.pair_ids_n.tolist(), reasons, strict=True)]

    return FilesAnnotator(ask, ("cat", "dog"), multi_label=True)


def files_of(folder):
    return {path.name: path.read_bytes() for path in (folder / "to_label").iterdir()}


def test_a_request_writes_page_and_tables_and_the_same_again_changes_nothing(annotator, tmp_path):
    folder = tmp_path / "entropy-s0" / "rounds" / "003"
    annotator.request(SELECTION, folder=str(folder))
    assert annotator.collect() == Pending(0, 3)
    first = files_of(folder)
    assert set(first) == {"index.html", "tasks.csv", "tasks.jsonl"}
    assert "<title>entropy-s0, round 3 · to label</title>" in first["index.html"].decode()
    assert "answers-entropy-s0-003.jsonl" in first["index.html"].decode()
    annotator.request(SELECTION, folder=str(folder))
    assert files_of(folder) == first


def test_every_round_is_kept_apart_in_the_browser(annotator, tmp_path):
    keys = set()
    for name in ("000", "001"):
        annotator.request(SELECTION, folder=str(tmp_path / name))
        keys.add(re.search(r"xmr-ray:\w{16}", (tmp_path / name / "to_label" / "index.html").read_text())[0])
    assert len(keys) == 2


def test_answers_in_the_browser_outlive_a_partial_import_but_not_other_questions(asked, tmp_path):
    def key(selection, names):
        FilesAnnotator(lambda some: [Question(i) for i in some.pair_ids_n.tolist()], names, True).request(selection, folder=str(tmp_path))
        return re.search(r"xmr-ray:\w{16}", (tmp_path / "to_label" / "index.html").read_text())[0]

    whole = key(SELECTION, ("cat", "dog"))
    append_answers(str(tmp_path), [Answer(2, None)], source="test")
    assert key(SELECTION, ("cat", "dog")) == whole
    assert len({whole, key(SELECTION, ("cat", "cow")), key(Selection(np.array([9, 2, 6]), np.zeros(3)), ("cat", "dog"))}) == 3


def test_for_what_another_run_asks_nobody_is_asked_here_and_its_answer_closes_the_purchase_all_the_same(annotator, asked, tmp_path):
    annotator.request(SELECTION, folder=str(tmp_path))
    key = re.search(r"xmr-ray:\w{16}", (tmp_path / "to_label" / "index.html").read_text())[0]
    annotator.request(SELECTION, folder=str(tmp_path), elsewhere={2, 77})
    assert asked == [[9, 2, 5], [9, 5]]
    assert re.search(r"xmr-ray:\w{16}", (tmp_path / "to_label" / "index.html").read_text())[0] == key, "what was ticked is still there"
    annotator.request(SELECTION, folder=str(tmp_path), elsewhere={9, 2, 5})
    assert not (tmp_path / "to_label").exists(), "there is nothing to tick"
    assert annotator.collect() == Pending(0, 3)
    append_answers(str(tmp_path), [Answer(9, (0,)), Answer(2, None), Answer(5, ())], source="run other")
    assert annotator.collect().pair_ids.tolist() == [2, 5, 9]


def test_what_is_answered_is_not_asked_again_and_closes_when_nothing_is_open(annotator, asked, tmp_path):
    annotator.request(SELECTION, folder=str(tmp_path))
    append_answers(str(tmp_path), [Answer(2, None)], source="test")
    assert annotator.collect() == Pending(1, 3)
    annotator.request(SELECTION, folder=str(tmp_path))
    assert asked == [[9, 2, 5], [9, 5]], "cannot tell is an answer"
    lines = [json.loads(line) for line in (tmp_path / "to_label" / "tasks.jsonl").read_text().splitlines()]
    assert [(line["pair_id"], line["why"]["entropy"]) for line in lines] == [(9, 1.5), (5, 0.5)]
    append_answers(str(tmp_path), [Answer(9, (0,)), Answer(5, ())], source="test")
    annotator.request(SELECTION, folder=str(tmp_path))
    assert len(asked) == 2
    closed = annotator.collect()
    assert isinstance(closed, Answers)
    assert (closed.labels.pair_ids_L.tolist(), closed.cannot_tell_n.tolist()) == ([5, 9], [2])
    assert page_of(str(tmp_path)) == str(tmp_path / "to_label" / "index.html")
