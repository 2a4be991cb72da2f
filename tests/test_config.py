import pytest

from xmr_ray import config
from xmr_ray.config import Experiment, expand, load, to_yaml, validate
from xmr_ray.errors import ConfigError


def written(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return str(path)


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = written(tmp_path, "budget: {total: 90, seed_pairs: 30}\nseeds: [3]\n")
    found = load(path, ["budget.total=80", "strategy.kind=margin", "seeds=[1,2]"])
    assert (found.budget.total, found.budget.seed_pairs, found.budget.per_round) == (80, 30, Experiment().budget.per_round)
    assert found.strategy.kind == "margin"
    assert found.seeds == (1, 2)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("budgt: {}", [], r"unknown key 'budgt', did you mean budget"),
        ("budget: {totl: 3}", [], r"unknown key 'budget.totl', did you mean total"),
        ("training: {num_wokers: 3}", [], r"unknown key 'training.num_wokers', did you mean num_workers"),
        ("strategy: {kind: entropi}", [], r"strategy.*entropi.*'random', 'entropy', 'margin'"),
        ("strategy: {kind: random, n: 3}", [], r"unknown key 'strategy.random.n'"),
        ("budget: {total: many}", [], r"budget.total is 'many'"),
        ("", ["budget.total"], r"override 'budget.total' has no '='"),
        ("[1, 2]", [], r"cannot be read|expected keys and values"),
        ("a: [", [], r"cannot be read as a configuration"),
        ("arms: {full: {}}", [], r"an arm cannot be called 'full'"),
        ("arms: {x: {budget: {totl: 3}}}", [], r"arms.x: unknown key 'budget.totl'"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(tmp_path, text, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load(written(tmp_path, text), overrides)


def test_a_missing_file_is_told():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such configuration file"):
        load("nowhere.yaml")


def test_arms_and_seeds_expand_into_runs_with_their_own_configuration():
    experiment = validate(
        {"seeds": [0, 1], "full": True, "arms": {"random": {}, "entropy": {"strategy": {"kind": "entropy"}, "budget": {"total": 70}}}}, where="test"
    )
    runs = expand(experiment)
    assert [run.run_id for run in runs] == ["random-s0", "entropy-s0", "random-s1", "entropy-s1", "full-s0"]
    kinds = {run.run_id: (run.experiment.strategy.kind, run.experiment.budget.total) for run in runs}
    assert kinds["random-s0"] == ("random", Experiment().budget.total)
    assert kinds["entropy-s1"] == ("entropy", 70)
    assert runs[-1].purchases(1234) == [1234]


def test_without_arms_the_strategy_is_the_arm():
    assert [run.run_id for run in expand(validate({"strategy": {"kind": "margin"}}, where="test"))] == ["margin-s0"]


def test_the_fingerprint_covers_what_changes_results_and_nothing_else():
    def mark(content, corpus="c"):
        return expand(validate(content, where="test"))[0].fingerprint(corpus)

    base = mark({})
    for same in (
        {"resources": {"num_cpus": 1}},
        {"training": {"num_workers": 2}},
        {"storage_path": "x"},
        {"name": "y"},
        {"scoring": {"batch_size": 7, "index_actors": 1}},
    ):
        assert mark(same) == base
    others = [{"budget": {"total": 7}}, {"strategy": {"kind": "margin"}}, {"seeds": [1]}, {"training": {"use_predicted": False}}]
    others += [{"scoring": {"num_cells": 9}}, {"scoring": {"cell_space": "prediction"}}, {"scoring": {"neighbours": {"kind": "exact"}}}]
    marks = [mark(content) for content in others] + [mark({}, "another corpus")]
    assert len({base, *marks}) == 9


def test_a_configuration_survives_its_own_yaml(tmp_path):
    experiment = validate({"arms": {"a": {"strategy": {"kind": "entropy"}}}, "training": {"num_workers": 2}}, where="test")
    assert load(written(tmp_path, to_yaml(experiment))) == experiment


def test_every_field_of_a_setting_is_described():
    for model in (config.Experiment, config.Resources, config.ScoringSettings, config.CorpusSettings):
        undescribed = [name for name, info in model.model_fields.items() if not info.description and name not in _SELF_EXPLAINING]
        assert undescribed == [], model.__name__


_SELF_EXPLAINING = {
    "corpus",
    "annotator",
    "budget",
    "seed_strategy",
    "strategy",
    "training",
    "scoring",
    "evaluation",
    "resources",
    "report",
}


def test_an_arm_changes_what_it_names_and_keeps_the_rest():
    base = {"training": {"common_space": {"steps": 500, "network": {"hidden": 96}}}, "seed_strategy": {"kind": "typical", "candidates": 90}}
    arms = {"a": {"training": {"common_space": {"steps": 100}}, "seed_strategy": {"candidates": 70}}, "b": {"seed_strategy": {"kind": "random"}}}
    a, b, full = expand(validate({**base, "arms": arms, "full": True}, where="test"))
    assert (a.experiment.training.common_space.steps, a.experiment.training.common_space.network.hidden) == (100, 96)
    assert a.experiment.seed_strategy.candidates == 70
    assert (b.experiment.seed_strategy.kind, b.experiment.training.common_space.steps) == ("random", 500)
    assert (full.experiment.seed_strategy.kind, full.experiment.training.common_space.network.hidden) == ("random", 96)


@pytest.mark.parametrize("key", ["seeds", "corpus", "name", "resources", "report", "full", "storage_path"])
def test_what_arms_share_cannot_be_set_in_one(key):
    with pytest.raises(ConfigError, match=rf"arms\.a\.{key}: arms share"):
        validate({"arms": {"a": {key: {}}}}, where="test")


@pytest.mark.parametrize("content", [{"scoring": {"num_actors": 0}}, {"training": {"num_workers": -1}}])
def test_counts_that_cannot_be_are_refused_at_load(content):
    with pytest.raises(ConfigError, match="num_"):
        validate(content, where="test")


def test_the_share_held_out_changes_results_and_so_the_fingerprint():
    runs = {
        share: expand(validate({"evaluation": {"held_out": share}} if share else {}, where="test"))[0].fingerprint("c") for share in (None, 0.2, 0.3)
    }
    assert runs[None] == runs[0.2] != runs[0.3]


def test_who_answers_is_part_of_what_a_run_is():
    oracle, files = (expand(validate({"annotator": {"kind": kind}}, where="test"))[0].fingerprint("c") for kind in ("oracle", "files"))
    assert oracle != files
    with pytest.raises(ConfigError, match="annotator"):
        validate({"annotator": {"kind": "crowd"}}, where="test")


SPACE = {"strategy.lambda_": {"kind": "log_uniform", "low": 1, "high": 9}}


def test_a_search_and_the_split_that_measures_by_default_leave_old_fingerprints_as_they_were():
    before = {"neighbours": 0, "distil": False}
    plain, searched, validated, mixed = (
        expand(validate({"training": {"targets": before}, **content}, where="test"))[0].fingerprint("c")
        for content in (
            {"strategy": {"kind": "entropy"}},
            {"strategy": {"kind": "entropy"}, "tune": {"space": {"training.targets.trust": {"kind": "uniform", "low": 0.2, "high": 1.0}}}},
            {"strategy": {"kind": "entropy"}, "evaluation": {"split": "validation"}},
            {"strategy": {"kind": "entropy"}, "training": {}},
        )
    )
    assert plain == searched != validated
    assert plain != mixed, "neighbours change results"
    # of a run that was begun before there were searches, and before predictions were averaged with neighbours'
    assert plain == "4636eeb54e39b109414e603cea0cbe69a72fcb8365ec2e5121074c8dbe9f691a"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"strategy.lambd_": SPACE["strategy.lambda_"]}, r"tune.space.strategy.lambd_: unknown key 'strategy.ascmr.lambd_', did you mean lambda_\?"),
        ({"budgt.total": SPACE["strategy.lambda_"]}, r"tune.space.budgt.total: unknown key 'budgt', did you mean budget"),
        ({"strategy.lambda_": {"kind": "uniform", "low": -3, "high": 1}}, r"tune.space.strategy.lambda_: .*lambda_ is -3.0"),
        ({"strategy.within": {"kind": "choice", "values": ["typical", "tipical"]}}, r"strategy.ascmr.within is 'tipical'"),
        ({"seeds": {"kind": "choice", "values": [[0], [1]]}}, r"'seeds' is the same for all trials"),
        ({"evaluation.space": {"kind": "choice", "values": ["prob", "overlap"]}}, r"'evaluation.space' is the same for all trials"),
        ({"strategy.lambda_": {"kind": "uniform", "low": 3, "high": 1}}, r"tune.space.strategy.lambda_.uniform .*low below high"),
    ],
)
def test_a_space_that_the_configuration_refuses_is_told_at_load_with_its_path(space, message):
    with pytest.raises(ConfigError, match=message):
        validate({"strategy": {"kind": "ascmr"}, "tune": {"space": space}}, where="test")


def test_values_at_paths_change_what_they_name_and_keep_the_rest(tmp_path):
    text = "strategy: {kind: ascmr, kappa: 0.5}\narms: {}\ntune: {space: {strategy.lambda_: {kind: uniform, low: 1, high: 2}}}\n"
    base = load(written(tmp_path, text))
    found = config.with_values(base, {"strategy.lambda_": 3.0, "strategy.weights.class": 0.0, "budget.per_round": [5, 9]}, where="test")
    assert (found.strategy.lambda_, found.strategy.kappa, found.strategy.weights.class_) == (3.0, 0.5, 0.0)
    assert found.budget.per_round == (5, 9)
    assert found.tune is None
    assert load(written(tmp_path, to_yaml(base))) == base, "a search survives its own YAML"
