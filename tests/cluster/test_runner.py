"""The whole thing on Ray, on a tiny corpus: the loop, resume, actor counts, kills, jobs."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.cluster.engine import RayEngine
from xmr_ray.cluster.runner import evaluate_last, experiment_path, pick, run_experiment, score_last, train_last
from xmr_ray.config import to_yaml, validate
from xmr_ray.errors import CheckpointError, ConfigError, RunError
from xmr_ray.runs.directory import RunDirectory

pytestmark = pytest.mark.ray


def results_of(folder, run_id):
    """Selections and mAP of a finished run: what must be equal bit for bit."""
    rounds = RunDirectory(storage.join(str(folder), run_id)).rounds()
    return [(place.read_selection().pair_ids_n.tolist(), place.read_report()["retrieval"]) for place in rounds]


@pytest.fixture(scope="module")
def settings(quick, tiny_corpus):
    arms = {**quick["arms"], "ascmr": {"strategy": {"kind": "ascmr"}}}
    return {**quick, "arms": arms, "corpus": {"path": tiny_corpus.path}}


@pytest.fixture(scope="module")
def finished(session, settings, tmp_path_factory):
    """Three arms and full supervision, run to the end once."""
    folder = tmp_path_factory.mktemp("finished")
    experiment = validate({**settings, "storage_path": str(folder), "full": True, "scoring": {"num_actors": 1}}, where="test")
    seen, passes = [], []
    counted = RayEngine._score

    def count(engine, place, networks, **options):
        passes.append((engine.directory.path, place.index, options["split"]))
        counted(engine, place, networks, **options)

    RayEngine._score = count
    try:
        states = run_experiment(experiment, on_round=lambda run, state: seen.append((run.run_id, len(state.history))))
    finally:
        RayEngine._score = counted
    return experiment, states, seen, passes


def test_arms_share_their_seed_pairs_and_spend_their_budget(finished):
    experiment, states, seen, _ = finished
    folder = experiment_path(experiment)
    assert [state.ledger.sizes for state in states.values()] == [*[(20, 20, 20)] * 3, (600,)]
    assert seen == [*[(f"{arm}-s0", done) for arm in ("random", "entropy", "ascmr") for done in (1, 2, 3)], ("full-s0", 1)]
    first, *others = (results_of(folder, f"{arm}-s0") for arm in ("random", "entropy", "ascmr"))
    for other in others:
        assert first[0] == other[0], "same seed pairs, same networks"
        assert first[1][0] != other[1][0]


def test_at_most_two_ray_data_passes_a_round(finished):
    _, _, _, passes = finished
    assert len(passes) == len(set(passes)), "no split is scored twice by the same networks"
    assert sum(split == "train" for _, _, split in passes) == 4, "two purchases each of the arms that look at scores, none of the random one"
    assert sum(split == "test" for _, _, split in passes) == 10


def test_a_purchase_by_regions_tells_why_and_what_it_looks_like(finished):
    directory = RunDirectory(storage.join(experiment_path(finished[0]), "ascmr-s0"))
    for place in directory.rounds()[1:]:
        selection = place.read_selection()
        assert {"intra", "inter", "class", "informativeness", "cell", "cell_density", "cell_share", "cell_budget"} <= set(selection.reasons)
        cells, counts = np.unique(selection.reasons["cell"], return_counts=True)
        budgets = dict(zip(selection.reasons["cell"], selection.reasons["cell_budget"], strict=True))
        assert [budgets[cell] for cell in cells] == counts.tolist(), "every cell got its budget"
        told = json.loads(storage.read_bytes(place.diagnostics))
        assert told["cells_touched"] == len(cells)
        assert told["kl"] >= 0
        shown = storage.read_table(place.space)["round"].to_numpy()
        assert (shown == place.index).sum() == 20
        assert (shown == -1).sum() > 100


def test_retrieval_with_every_label_is_far_above_chance(finished, tiny_corpus):
    experiment, states, _, _ = finished
    report = states["full-s0"].history[0]["retrieval"]["prob"]
    assert report["map_mean"] > states["random-s0"].history[0]["retrieval"]["prob"]["map_mean"]
    assert report["i2t"]["num_queries"] == 160
    numbers = json.loads(storage.read_bytes(RunDirectory(storage.join(experiment_path(experiment), "full-s0")).round(0).training))
    assert numbers["workers"] == 1


def test_started_again_a_finished_experiment_does_nothing(session, finished):
    experiment, states, _, _ = finished
    seen = []
    again = run_experiment(experiment, on_round=lambda run, state: seen.append(run))
    assert seen == []
    assert [len(state.history) for state in again.values()] == [len(state.history) for state in states.values()]


def test_a_changed_configuration_is_refused_unless_asked_for(session, finished):
    experiment, _, _, _ = finished
    changed = experiment.model_copy(update={"budget": experiment.budget.model_copy(update={"total": 50})})
    with pytest.raises(RunError, match="another configuration"):
        run_experiment(changed, on_round=lambda run, state: None)


def test_relative_paths_mean_the_same_to_workers_that_work_elsewhere(session, settings, tiny_corpus, tmp_path, monkeypatch):
    shutil.copytree(tiny_corpus.path, tmp_path / "corpus")
    monkeypatch.chdir(tmp_path)
    content = {**settings, "arms": {}, "budget": {"total": 20, "seed_pairs": 20}, "storage_path": "runs", "corpus": {"path": "corpus"}}
    content["training"] = {**settings["training"], "num_workers": 1}
    states = run_experiment(validate(content, where="test"), on_round=lambda run, state: None)
    assert states["random-s0"].history[0]["training"]["workers"] == 1
    assert (tmp_path / "runs" / "quick" / "random-s0" / "rounds" / "000" / "networks" / "networks.pt").exists()


def test_a_purchase_that_looks_at_density_finds_neighbours_and_keeps_what_was_measured(session, settings, tmp_path):
    content = {**settings, "storage_path": str(tmp_path), "budget": {"total": 40, "seed_pairs": 20, "per_round": 20}}
    content["arms"] = {"penalised": {"strategy": {"kind": "ascmr", "variant": "penalised"}}}
    content["scoring"] = {"neighbours": {"kind": "hnsw", "points_per_shard": 300}, "cell_space": "fused"}
    states = run_experiment(validate(content, where="test"), on_round=lambda run, state: None)
    assert states["penalised-s0"].ledger.sizes == (20, 20)
    directory = RunDirectory(storage.join(experiment_path(validate(content, where="test")), "penalised-s0"))
    assert directory.round(1).read_selection().reasons["density"].min() >= 0
    told = json.loads(storage.read_bytes(directory.round(1).diagnostics))
    assert (told["neighbours_backend"], told["neighbours_num_shards"]) == ("hnsw", 2)
    assert told["neighbours_recall"] >= 0.95
    assert directory.choice("scoring.neighbours", "none") == "hnsw"


@pytest.mark.parametrize(("arm", "num_actors"), [pytest.param("entropy", 2, marks=pytest.mark.integration), ("ascmr", 5)])
def test_several_scoring_actors_select_the_pairs_that_one_selects(session, settings, finished, tmp_path, arm, num_actors):
    scoring = {"num_actors": num_actors, "cpus_per_actor": 0.25, "batch_size": 50}
    content = {**settings, "storage_path": str(tmp_path), "scoring": scoring}
    content["arms"] = {arm: settings["arms"][arm]}
    run_experiment(validate(content, where="test"), on_round=lambda run, state: None)
    found = results_of(tmp_path / "quick", f"{arm}-s0")
    assert [ids for ids, _ in found] == [ids for ids, _ in results_of(experiment_path(finished[0]), f"{arm}-s0")]


def test_single_steps_work_on_the_newest_networks(session, finished):
    experiment, _, _, _ = finished
    place, spaces = evaluate_last(experiment, arm="entropy", seed=0)
    assert place.index == 2
    told = place.read_report()["retrieval"]["prob"]
    assert spaces["prob"].map_mean == pytest.approx(told["map_mean"])
    scored = score_last(experiment, arm="random", seed=0)
    assert len(storage.list_names(scored.folder("scores"))) > 0
    assert train_last(experiment, arm="random", seed=0).index == 2
    with pytest.raises(ConfigError, match="means 4 runs; choose one of random-s0, entropy-s0, ascmr-s0, full-s0"):
        pick(experiment, arm=None, seed=0)


def test_the_verbs_do_the_same_from_the_command_line(session, finished, tmp_path, capsys, call):
    experiment, _, _, _ = finished
    path = tmp_path / "c.yaml"
    path.write_text(to_yaml(experiment))
    assert call("run", "-c", str(path)) == 0
    told = capsys.readouterr().out
    assert "full" in told
    assert "index.html" in told
    assert call("run", "-c", str(path), "--json") == 0
    runs = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"]
    assert {row["arm"]: row["labels"] for row in runs} == {"random": 60, "entropy": 60, "ascmr": 60, "full": 600}
    assert call("evaluate", "-c", str(path), "--arm", "entropy", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["round"], set(found["retrieval"])) == (2, {"overlap", "prob", "feature", "concat"})
    assert call("evaluate", "-c", str(path), "--arm", "entropy") == 0
    assert "round 2, test split" in capsys.readouterr().out
    for verb in ("train", "score"):
        assert call(verb, "-c", str(path), "--arm", "random") == 0
        assert "round: 2" in capsys.readouterr().out
        assert call(verb, "-c", str(path), "--arm", "random", "--dry-run") == 0
        assert "random-s0" in capsys.readouterr().out
    assert call("report", "-c", str(path)) == 0
    assert call("evaluate", "-c", str(path)) == 2
    assert "--arm" in capsys.readouterr().err


def test_networks_that_cannot_be_read_are_named(session, finished, tmp_path):
    experiment, _, _, _ = finished
    place = RunDirectory(storage.join(experiment_path(experiment), "random-s0")).round(2)
    kept = storage.read_bytes(place.networks)
    try:
        storage.write_whole(place.networks, kept[: len(kept) // 2])
        with pytest.raises(CheckpointError, match=r"networks\.pt"):
            evaluate_last(experiment, arm="random", seed=0)
    finally:
        storage.write_whole(place.networks, kept)


@pytest.mark.parametrize("arm", [pytest.param("entropy", marks=pytest.mark.integration), "ascmr"])
def test_killed_at_random_moments_a_run_ends_as_if_uninterrupted(settings, finished, tmp_path, arm):
    """kill -9 of the driver at random moments, restarted each time; the full drill of ten kills is `benchmarks/kills.py`."""
    config = tmp_path / "c.yaml"
    content = {**settings, "storage_path": str(tmp_path), "arms": {arm: settings["arms"][arm]}}
    config.write_text(json.dumps(content))
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "xmr_ray", "run", "-c", str(config)]
    moments = random.Random(7)
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as driver:
            time.sleep(moments.uniform(8, 20))
            driver.send_signal(signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert results_of(tmp_path / "quick", f"{arm}-s0") == results_of(experiment_path(finished[0]), f"{arm}-s0")
