import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmr_ray.errors import LedgerError, StorageError
from xmr_ray.labels.annotators import Answers, Pending
from xmr_ray.labels.answers import append_answers, closing, read_answers
from xmr_ray.labels.ledger import read_receipt, write_receipt
from xmr_ray.labels.questions import Answer

KINDS = st.none() | st.lists(st.integers(0, 9), unique=True, max_size=4).map(lambda classes: tuple(sorted(classes)))


@given(given_to=st.dictionaries(st.integers(0, 2**62), KINDS, min_size=1, max_size=20), cut=st.integers(0, 20))
def test_answers_in_any_parts_read_back_as_they_were_given(tmp_path_factory, given_to, cut):
    folder = str(tmp_path_factory.mktemp("round"))
    answers = [Answer(pair_id, classes, "ann") for pair_id, classes in given_to.items()]
    for part in (answers[:cut], answers[cut:], answers[: cut + 1]):
        if part:
            append_answers(folder, part, source="test")
    assert read_answers(folder) == {answer.pair_id: answer for answer in answers}


def test_appended_twice_in_another_order_they_are_there_once(tmp_path):
    answers = [Answer(5, (1, 2)), Answer(3, None), Answer(9, ())]
    first = append_answers(str(tmp_path), answers, source="a.csv")
    assert append_answers(str(tmp_path), answers[::-1], source="copy of a.csv") == first
    assert [path.name for path in (tmp_path / "answers").iterdir()] == [Path(first).name]


def test_a_contradiction_is_refused_before_anything_is_written(tmp_path):
    append_answers(str(tmp_path), [Answer(5, (1,), "ann")], source="a")
    with pytest.raises(LedgerError, match=r"pair_id 5 is answered twice, classes 1 \(by ann\) and cannot tell"):
        append_answers(str(tmp_path), [Answer(6, (1,)), Answer(5, None)], source="b")
    with pytest.raises(LedgerError, match="pair_id 7 is answered twice"):
        append_answers(str(tmp_path), [Answer(7, (1,)), Answer(7, (2,))], source="b")
    assert read_answers(str(tmp_path)) == {5: Answer(5, (1,), "ann")}


def test_a_correction_counts_and_what_it_corrects_stays_on_disk(tmp_path):
    folder, files = str(tmp_path), tmp_path / "answers"
    append_answers(folder, [Answer(5, (1,), "ann"), Answer(6, ())], source="a")
    for number, classes in enumerate([(2,), None, (1,)], 1):  # back to what it was is a correction, too
        for _ in range(2):
            append_answers(folder, [Answer(5, classes, "bob"), Answer(6, ())], source="b", correct=True)
        assert read_answers(folder) == {5: Answer(5, classes, "bob", number), 6: Answer(6, ())}
        assert len(list(files.iterdir())) == number + 1, "written twice, there once"
    with pytest.raises(LedgerError, match=r"pair_id 5 is answered twice, classes 1 \(by bob\) and classes 2"):
        append_answers(folder, [Answer(5, (2,))], source="a")
    with pytest.raises(LedgerError, match="pair_id 5 is answered twice"):
        append_answers(folder, [Answer(5, (2,)), Answer(5, (3,))], source="c", correct=True)
    assert read_answers(folder)[5] == Answer(5, (1,), "bob", 3)


def test_answers_that_are_older_than_corrections_are_read_and_can_be_corrected(tmp_path):
    path = Path(append_answers(str(tmp_path), [Answer(5, (1,)), Answer(6, None)], source="a"))
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["revision"]), path)
    assert read_answers(str(tmp_path)) == {5: Answer(5, (1,)), 6: Answer(6, None)}
    append_answers(str(tmp_path), [Answer(6, (0,))], source="b", correct=True)
    assert read_answers(str(tmp_path)) == {5: Answer(5, (1,)), 6: Answer(6, (0,), revision=1)}
    pq.write_table(table.drop_columns(["labels"]), path)
    with pytest.raises(StorageError, match="has no column 'labels'"):
        read_answers(str(tmp_path))


class KillError(BaseException):
    """Stands for kill -9: nothing catches it, and what would tidy up after it does nothing."""


def test_killed_while_a_correction_is_written_either_answer_is_there_and_no_other_is_lost(tmp_path, monkeypatch):
    before, after = {5: Answer(5, (1,)), 6: Answer(6, ())}, {5: Answer(5, (2,), revision=1), 6: Answer(6, ()), 7: Answer(7, None)}

    def correct(folder):
        append_answers(folder, [Answer(5, (2,)), Answer(7, None)], source="b", correct=True)

    found = []
    for moment in range(1, 9):
        folder, left = str(tmp_path / str(moment)), moment
        append_answers(folder, list(before.values()), source="a")

        def dying(real):
            def call(*arguments):
                nonlocal left
                left -= 1
                if left == 0:
                    raise KillError
                return real(*arguments)

            return call

        with monkeypatch.context() as patch:
            for name in ("fsync", "link"):
                patch.setattr(os, name, dying(getattr(os, name)))
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            try:
                correct(folder)
            except KillError:
                found.append(read_answers(folder))
            else:
                break
        correct(folder)
        assert read_answers(folder) == after
    assert before in found, "killed before it had its name"
    assert after in found, "killed after it"
    assert all(one in (before, after) for one in found)


def test_contradicting_files_are_told(tmp_path):
    for name, classes in (("one", (1,)), ("two", (2,))):
        append_answers(str(tmp_path / name), [Answer(5, classes)], source=name)
    for file in (tmp_path / "two" / "answers").iterdir():
        file.rename(tmp_path / "one" / "answers" / file.name)
    with pytest.raises(LedgerError, match="pair_id 5 is answered twice"):
        read_answers(str(tmp_path / "one"))


def test_no_answers_are_not_kept(tmp_path):
    with pytest.raises(LedgerError, match="no answers"):
        append_answers(str(tmp_path), [], source="a")
    assert read_answers(str(tmp_path)) == {}


def test_a_purchase_closes_when_every_pair_has_its_answer_and_not_before(tmp_path):
    answers = {3: Answer(3, (0, 2)), 8: Answer(8, None), 1: Answer(1, ()), 99: Answer(99, (1,))}
    assert closing(answers, np.array([8, 3, 4, 1])) == Pending(3, 4)
    closed = closing(answers, np.array([8, 3, 1]))
    assert isinstance(closed, Answers)
    write_receipt(str(tmp_path / "labels.parquet"), closed)
    back = read_receipt(str(tmp_path / "labels.parquet"))
    assert back.pair_ids.tolist() == [1, 3, 8], "what was not asked for is not bought"
    assert back.cannot_tell_n.tolist() == [8]
    assert back.labels.dense([1, 3], num_classes=3).tolist() == [[0, 0, 0], [1, 0, 1]]
