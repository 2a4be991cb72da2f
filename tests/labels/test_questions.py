from dataclasses import FrozenInstanceError

import pytest

from xmr_ray.labels.questions import Answer, Question


def test_a_question_may_know_nothing_but_its_pair_and_cannot_be_changed():
    question = Question(7)
    assert (question.text, question.uri, question.thumbnail, dict(question.suggested), dict(question.reasons)) == (None, None, None, {}, {})
    with pytest.raises(FrozenInstanceError):
        question.text = "other"  # type: ignore[misc]


def test_no_class_and_cannot_tell_are_different_answers():
    assert Answer(7, ()) != Answer(7, None)
    assert Answer(7, (1, 2), "eve") == Answer(7, (1, 2), "eve")
