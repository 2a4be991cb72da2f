import re

import pytest

from xmr_ray.cluster.submission import submission_id
from xmr_ray.config import validate

CONTENT = {"name": "mine", "storage_path": "/mnt/shared/runs", "budget": {"total": 60, "seed_pairs": 20, "per_round": 20}}


def id_of(attempt=1, corpus="abc", **changes):
    return submission_id(validate({**CONTENT, **changes}, where="test"), corpus_fingerprint=corpus, attempt=attempt)


def test_the_same_work_has_the_same_id_and_attempts_are_counted():
    first = id_of()
    assert re.fullmatch(r"mine-[0-9a-f]{12}-1", first)
    assert id_of() == first
    assert id_of(attempt=2) == first[:-1] + "2"


@pytest.mark.parametrize(
    "changes", [{"resources": {"use_gpu": True}}, {"report": {"num_queries": 1}}, {"scoring": {"num_actors": 3}}, {"keep_rounds": 2}]
)
def test_what_changes_no_result_changes_no_id(changes):
    assert id_of(**changes) == id_of()


@pytest.mark.parametrize(
    "changes",
    [{"seeds": [1]}, {"storage_path": "/other"}, {"strategy": {"kind": "entropy"}}, {"budget": {"total": 40}}, {"full": True}, {"corpus": "other"}],
)
def test_other_work_has_another_id(changes):
    assert id_of(**changes) != id_of()
