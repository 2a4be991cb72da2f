import json

import pytest

VERBS = ["train", "score", "evaluate"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_names_the_run_that_is_meant(verb, written, capsys, tmp_path, call):
    assert call(verb, "-c", written, "seeds=[0,1]", "--seed", "1", "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == "random-s1"
    assert told["config"]["budget"]["total"] == 60
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_several_runs_must_be_told_apart(verb, written, capsys, call):
    assert call(verb, "-c", written, "seeds=[0,1]", "--dry-run") == 2
    assert "choose one of random-s0, random-s1 with --arm and --seed" in capsys.readouterr().err
