"""A search on Ray, on a tiny corpus: whole runs as trials, no look at the test split, the same table however often it is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from xmr_ray import storage
from xmr_ray.cluster.place import TrialPlacement
from xmr_ray.cluster.runner import open_corpus
from xmr_ray.cluster.search import RecordedSearch, best_experiment, check_search, final_experiment, run_final, run_search
from xmr_ray.cluster.trials import Sweep, trial_run
from xmr_ray.config import expand, load, validate
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import ConfigError, RunError, XmrError
from xmr_ray.report.progress import summary_rows
from xmr_ray.report.sweep import SweepView, trials_tsv
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.tuning.records import TrialRecord, read_record, write_record
from xmr_ray.tuning.standing import front

SPACE = {
    "strategy.kind": {"kind": "choice", "values": ["entropy", "margin"]},
    "training.common_space.learning_rate": {"kind": "log_uniform", "low": 1e-4, "high": 1e-2},
}
CONTENT = {
    "name": "searched",
    "budget": {"total": 40, "seed_pairs": 20, "per_round": 10},
    "strategy": {"kind": "random"},
    "training": {"label_predictor": {"steps": 30}, "common_space": {"steps": 30}},
    "resources": {"num_cpus": 2, "object_store_mb": 300},
    "tune": {"space": SPACE, "num_trials": 5, "grace_rounds": 1, "reduction_factor": 2, "seed": 3},
}


def experiment_in(folder, corpus_path, **content):
    return validate({**CONTENT, "storage_path": str(folder), "corpus": {"path": str(corpus_path)}, **content}, where="test")


def table_of(result):
    return trials_tsv(SweepView(result.sweep.settings, result.records, result.target, result.sweep.window, [], "")).decode()


# ---- what needs no Ray


@pytest.fixture
def sweep(tiny_corpus, tmp_path):
    experiment = experiment_in(tmp_path, tiny_corpus.path)
    return Sweep(experiment, str(tmp_path / "searched"), window=2, placement=TrialPlacement(count=2, cpus=0.25, gpus=0.0, share=1.0))


def ended(sweep, index, overrides=None):
    write_record(sweep.records, TrialRecord(index, overrides or {}, "finished", ((20, 0.1 * index), (30, 0.2))))


def test_a_trial_begins_when_those_that_it_has_to_know_of_have_ended_and_never_more_at_once_than_fit(sweep):
    search = RecordedSearch(sweep)
    first, second = search.suggest("a"), search.suggest("b")
    assert (first, second["index"]) == ({"index": 0, "overrides": {}}, 1)
    assert search.suggest("c") is None, "two are running"
    ended(sweep, 1, second["overrides"])
    search.on_trial_complete("b")
    assert search.suggest("c") is None, "trial 2 has to know of trial 0, which runs on"
    ended(sweep, 0)
    search.on_trial_complete("a")
    assert search.suggest("c")["index"] == 2


def test_what_is_proposed_depends_on_records_and_not_on_when_they_came(sweep):
    for index in (0, 1, 2):
        ended(sweep, index, {"strategy.kind": "margin", "training.common_space.learning_rate": 0.001})
    one, other = (RecordedSearch(sweep).suggest("x") for _ in range(2))
    assert one == other
    assert one["index"] == 3
    ended(sweep, 4, {"strategy.kind": "margin", "training.common_space.learning_rate": 0.001})
    assert RecordedSearch(sweep).suggest("x") == one


def test_a_search_is_over_when_every_trial_has_its_record(sweep):
    search = RecordedSearch(sweep)
    for index in range(4):
        ended(sweep, index)
    assert search.suggest("a")["index"] == 4
    assert search.suggest("b") is None, "not over yet: Ray Tune never asks again after that"
    ended(sweep, 4)
    search.on_trial_complete("a")
    assert search.suggest("b") == RecordedSearch.FINISHED


def test_equal_trials_do_not_run_at_the_same_time(tiny_corpus, tmp_path):
    space = {"strategy.kind": {"kind": "choice", "values": ["entropy", "margin"]}}
    tune = {"space": space, "algorithm": "random", "num_trials": 9}
    sweep = Sweep(experiment_in(tmp_path, tiny_corpus.path, tune=tune), str(tmp_path), 9, TrialPlacement(9, 0.25, 0.0, 1.0))
    search, begun = RecordedSearch(sweep), []
    while (suggested := search.suggest(str(len(begun)))) is not None:
        begun.append(suggested["overrides"])
    assert 2 <= len(begun) <= 3
    assert len({json.dumps(overrides) for overrides in begun}) == len(begun)


def test_a_restored_search_hands_out_again_what_was_running(sweep, tmp_path):
    search = RecordedSearch(sweep)
    search.suggest("a")
    search.save(str(tmp_path / "state"))
    restored = RecordedSearch(sweep)
    restored.suggest("before")
    restored.restore(str(tmp_path / "state"))
    assert restored.suggest("again") == {"index": 0, "overrides": {}}


def test_a_trial_is_the_own_strategy_with_the_first_seed_measured_on_validation_in_one_process(tiny_corpus, tmp_path):
    experiment = experiment_in(tmp_path, tiny_corpus.path, seeds=[4, 5], full=True)
    run = trial_run(experiment, {"strategy.kind": "margin"})
    assert (run.run_id, run.experiment.evaluation.split, run.experiment.training.num_workers) == ("margin-s4", "validation", 0)


@pytest.mark.parametrize(("configured", "of_a_trial"), [("auto", 0), (0, 0), (1, 0), (3, 3)])
def test_a_trial_has_a_worker_group_only_where_several_workers_are_configured(configured, of_a_trial):
    experiment = validate({**CONTENT, "training": {"num_workers": configured}}, where="test")
    assert trial_run(experiment, {}).experiment.training.num_workers == of_a_trial


# ---- on Ray


@pytest.fixture(scope="module")
def corpus_without_test(tiny_corpus, tmp_path_factory):
    """A copy of the corpus whose files of the test split, features and truth, are all zeros: whoever opens one fails."""
    folder = tmp_path_factory.mktemp("blind")
    shutil.copytree(tiny_corpus.path, folder / "corpus")
    hidden = [path for path in (folder / "corpus").rglob("*") if path.is_file() and "test" in path.relative_to(folder / "corpus").as_posix()]
    assert {"truth", "test"} <= {part for path in hidden for part in path.relative_to(folder / "corpus").parts}
    for path in hidden:
        path.write_bytes(bytes(path.stat().st_size))
    corpus = PairedCorpus.open(str(folder / "corpus"))
    with pytest.raises(XmrError):
        open_truth(corpus, "test")
    with pytest.raises(XmrError):
        corpus.read(corpus.descriptors("test")[0])
    return folder / "corpus"


@pytest.fixture(scope="module")
def searched(session, corpus_without_test, tmp_path_factory):
    """A search that ended, and the trials as they were told."""
    seen = []
    result = run_search(experiment_in(tmp_path_factory.mktemp("whole"), corpus_without_test), on_trial=seen.append)
    return result, seen


@pytest.mark.ray
@pytest.mark.slow
def test_every_trial_is_a_run_and_none_opens_the_test_split(searched):
    result, seen = searched
    assert sorted(record.index for record in seen) == [0, 1, 2, 3, 4]
    assert {record.status for record in result.records} == {"finished", "stopped"}
    for record in result.records:
        directory = result.sweep.directory(record.overrides)
        reports = [place.read_report() for place in directory.rounds()]
        assert [report["num_bought"] for report in reports] == [labels for labels, _ in record.curve] == [20, 30, 40][: len(reports)]
        assert [report["retrieval"]["overlap"]["map_mean"] for report in reports] == [height for _, height in record.curve]
        assert {report["num_validation_labels"] for report in reports} == {80}, "whose labels were looked at is paid for"
    assert result.default.status == "finished"
    firsts = {result.sweep.directory(record.overrides).round(0).read_selection().pair_ids_n.tobytes() for record in result.records}
    assert len(firsts) == 1, "trials share their seed pairs"


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_that_ended_is_not_run_again_and_another_one_is_refused_there(session, searched, corpus_without_test):
    result, _ = searched
    folder = Path(result.sweep.folder).parent
    seen = []
    assert table_of(run_search(experiment_in(folder, corpus_without_test), on_trial=seen.append)) == table_of(result)
    assert seen == []
    changed = {**CONTENT["tune"], "seed": 4}
    with pytest.raises(RunError, match=r"search\.json: another search"):
        run_search(experiment_in(folder, corpus_without_test, tune=changed), on_trial=seen.append)


@pytest.mark.ray
@pytest.mark.integration
def test_the_best_and_the_default_are_measured_once_on_the_test_split(session, searched, corpus_without_test, tiny_corpus):
    result, _ = searched
    seeing = result.sweep.experiment.model_copy(update={"corpus": result.sweep.experiment.corpus.model_copy(update={"path": tiny_corpus.path})})
    result = replace(result, sweep=replace(result.sweep, experiment=seeing))
    run_final(result)
    final = final_experiment(result)
    rows = summary_rows(storage.join(final.storage_path, final.name))
    assert sorted(row.arm for row in rows) == (["best", "default"] if result.best.overrides else ["default"])
    report = RunDirectory(storage.join(final.storage_path, "final", "default-s0")).round(0).read_report()
    assert report["retrieval"]["overlap"]["i2t"]["num_queries"] == 160, "the test split"
    best = best_experiment(result)
    assert expand(best)[0].experiment.strategy.kind == result.best.overrides.get("strategy.kind", "random")
    assert best.tune is None


@pytest.mark.ray
@pytest.mark.integration
def test_trials_with_several_train_workers_start_a_group_of_their_own_and_find_what_one_process_finds(session, corpus_without_test, tmp_path):
    still = {"dropout": 0.0, "input_dropout": 0.0}
    training = {
        "label_predictor": {"steps": 30, "network": still},
        "common_space": {"steps": 30, "network": still},
        "precision": "f32",
        "num_workers": 2,
    }
    tune = {
        "space": {"strategy.kind": {"kind": "choice", "values": ["entropy", "margin"]}},
        "num_trials": 1,
        "scheduler": "none",
        "algorithm": "random",
    }
    budget = {"total": 20, "seed_pairs": 20}
    curves = {}
    for workers in (2, 0):
        content = {"training": {**training, "num_workers": workers}, "tune": tune, "budget": budget}
        result = run_search(experiment_in(tmp_path / str(workers), corpus_without_test, **content), on_trial=lambda _: None)
        told = json.loads(Path(result.sweep.directory({}).round(0).training).read_text())
        curves[workers] = (told["workers"], result.default.curve[0])
    assert [curves[workers][0] for workers in (2, 0)] == [2, 1]
    assert curves[2][1] == pytest.approx(curves[0][1], abs=0.01)


@pytest.mark.ray
@pytest.mark.integration
def test_labels_to_a_share_of_full_supervision_is_what_the_best_trial_needs_least_of(session, corpus_without_test, tmp_path):
    tune = {**CONTENT["tune"], "objective": "labels_to_share", "share": 0.5, "num_trials": 3, "algorithm": "random", "scheduler": "none"}
    result = run_search(experiment_in(tmp_path, corpus_without_test, tune=tune), on_trial=lambda _: None)
    full = RunDirectory(storage.join(result.sweep.folder, "trials", "full-s0")).round(0).read_report()
    assert full["num_bought"] == 600
    assert result.target == pytest.approx(0.5 * full["retrieval"]["overlap"]["map_mean"])

    def needed(record):
        return next((labels for labels, height in record.curve if height >= result.target), 10**9)

    assert needed(result.best) == min(map(needed, result.records))


@pytest.mark.ray
@pytest.mark.integration
def test_two_objectives_give_the_trials_that_no_other_beats_in_both(session, corpus_without_test, tmp_path):
    space = {"budget.per_round": {"kind": "choice", "values": [5, 10, 20]}, "strategy.kind": {"kind": "choice", "values": ["entropy", "margin"]}}
    tune = {"space": space, "objective": "pareto", "num_trials": 4, "grace_rounds": 1, "algorithm": "random", "scheduler": "none"}
    result = run_search(experiment_in(tmp_path, corpus_without_test, tune=tune), on_trial=lambda _: None)
    points = [point for record in result.records for point in record.curve]
    unbeaten = {point for point in points if not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)}
    assert {(labels, height) for _, labels, height in front(result.records)} == unbeaten


KILLED = """
import sys
from xmr_ray.cluster.search import run_search
from xmr_ray.config import load
run_search(load(sys.argv[1]), on_trial=lambda record: print(record.index, flush=True))
"""


@pytest.mark.ray
@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_search_that_was_killed_and_restored_ends_with_the_same_table(session, searched, corpus_without_test, tmp_path):
    experiment = experiment_in(tmp_path, corpus_without_test)
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps(experiment.model_dump(mode="json", exclude_unset=True)))
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    with subprocess.Popen([sys.executable, "-c", KILLED, str(config)], stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdout.readline().strip() in {"0", "1"}
        time.sleep(3)  # somewhere in the next trials
        driver.send_signal(signal.SIGKILL)
    folder = tmp_path / "searched" / "tune"
    assert read_record(str(folder / "trials"), 4) is None
    assert list(folder.glob("ray-2/tuner.pkl")), "there is something for Ray Tune to restore"
    assert table_of(run_search(load(str(config)), on_trial=lambda _record: None)) == table_of(searched[0])


def test_a_search_needs_truth_of_the_validation_split(tiny_corpus, tmp_path):
    shutil.copytree(tiny_corpus.path, tmp_path / "corpus")
    manifest = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    manifest["truth"].pop("validation")
    (tmp_path / "corpus" / "corpus.json").write_text(json.dumps(manifest))
    experiment = experiment_in(tmp_path, tmp_path / "corpus")
    with pytest.raises(ConfigError, match="no truth for split 'validation', on which trials are measured"):
        check_search(experiment, open_corpus(experiment))
