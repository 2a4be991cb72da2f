"""What the verbs say; what they do is tested in `cluster/test_labelling.py`."""

import pytest

from xmr_ray import cli
from xmr_ray.cluster.labelling import LabelStatus
from xmr_ray.label_cli import WAITING, waiting_content, waiting_lines
from xmr_ray.stopping import EXIT_CODES

FILES = LabelStatus("ascmr-s1", "ascmr", 1, 50, 2, 1, 3, 20, 5, "/runs/x/ascmr-s1/rounds/001/to_label/index.html")
SERVER = LabelStatus("ascmr-s1", "ascmr", 1, 50, 2, 1, 3, 20, 0, "http://localhost:8080")
NO_PAGE = LabelStatus("random-s1", "random", 1, 50, 2, 1, 3, 20, 17)


def test_who_waits_says_for_what_where_and_how_to_go_on():
    assert waiting_lines([FILES], "c.yaml", ["name=x"]) == [
        "ascmr-s1 waits for answers to round 1, 3 of 20 have come, for 5 another run asks: /runs/x/ascmr-s1/rounds/001/to_label/index.html",
        "  then: xmr-ray label import -c c.yaml ANSWERS.jsonl name=x --arm ascmr --seed 1",
        "when answers are in: xmr-ray run -c c.yaml name=x",
    ]
    assert waiting_lines([FILES], "my c.yaml", ["name=a b"])[-1] == "when answers are in: xmr-ray run -c 'my c.yaml' 'name=a b'"
    assert [line for line in waiting_lines([SERVER], "c.yaml", None) if "import" in line] == []
    assert waiting_lines([NO_PAGE], "c.yaml", None) == [
        "random-s1 waits for answers to round 1, 3 of 20 have come, for 17 another run asks",
        "when answers are in: xmr-ray run -c c.yaml",
    ]
    assert waiting_content([SERVER])[0]["place"] == "http://localhost:8080"


def test_a_run_that_waits_has_an_exit_code_of_its_own():
    assert WAITING not in {code for _, code in EXIT_CODES}
    assert f"{WAITING} a run waits for answers" in cli.__doc__


@pytest.mark.parametrize("verb", ["import", "export", "status"])
def test_every_verb_tells_how_it_is_used(verb, capsys, call):
    assert call("label", verb, "--help") == 0
    assert "--config" in capsys.readouterr().out
