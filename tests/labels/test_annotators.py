import numpy as np

from xmr_ray.labels.annotators import Answers, Oracle
from xmr_ray.types import LabelSet, Selection


def test_the_oracle_answers_what_it_was_asked_and_nothing_else():
    truth = LabelSet.of([1, 2, 5, 9], [[0], [1, 2], [], [2]])
    oracle = Oracle(truth.take)
    oracle.request(Selection(np.array([9, 2]), np.array([0.5, 0.1])), folder="nowhere")
    answers = oracle.collect()
    assert answers.labels.pair_ids_L.tolist() == [2, 9]
    assert answers.labels.dense([2, 9], num_classes=3).tolist() == [[0, 1, 1], [0, 0, 1]]
    assert len(answers.cannot_tell_n) == 0
    assert oracle.collect().pair_ids.tolist() == [2, 9], "collecting twice loses nothing"


def test_answers_hold_every_answered_pair_in_order():
    answers = Answers(LabelSet.of([8, 3], [[0], [1]]), np.array([7, 1]))
    assert answers.pair_ids.tolist() == [1, 3, 7, 8]
