import json

import pytest

from xmr_ray import cli

VERBS = ["train", "score", "evaluate"]


def call(*arguments):
    """Exit code of a verb."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return ended.value.code


@pytest.fixture
def written(tmp_path, tiny_corpus):
    path = tmp_path / "tiny.yaml"
    path.write_text(f"storage_path: {tmp_path}/runs\ncorpus: {{path: {tiny_corpus.path}}}\nbudget: {{total: 40}}\nseeds: [0, 1]\n")
    return str(path)


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_names_the_run_that_is_meant(verb, written, capsys, tmp_path):
    assert call(verb, "-c", written, "--seed", "1", "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == "random-s1"
    assert told["config"]["budget"]["total"] == 40
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_several_runs_must_be_told_apart(verb, written, capsys):
    assert call(verb, "-c", written, "--dry-run") == 2
    assert "choose one of random-s0, random-s1 with --arm and --seed" in capsys.readouterr().err
