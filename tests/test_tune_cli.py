"""What the verb says; what it does is tested in `cluster/test_search.py`."""

import json
from pathlib import Path

import pytest

from xmr_ray.config import load
from xmr_ray.report.progress import SummaryRow
from xmr_ray.report.sweep import SweepView
from xmr_ray.tune_cli import trial_line, trial_table
from xmr_ray.tuning.records import TrialRecord
from xmr_ray.tuning.settings import TuneSettings


@pytest.fixture
def written(written):
    with Path(written).open("a") as file:
        file.write("tune: {algorithm: grid, space: {strategy.kind: {kind: choice, values: [entropy, margin]}}}\n")
    return written


def test_a_trial_is_told_in_one_line():
    assert trial_line(TrialRecord(0, {}, "finished", ((50, 0.4),))) == "trial   0  finished at 50 labels, mAP 0.400  (the default)"
    assert trial_line(TrialRecord(12, {"a.b": [1, 2]}, "refused", why="no")) == "trial  12  refused: no  a.b=[1, 2]"


def test_the_table_has_a_row_for_every_trial():
    settings = TuneSettings(space={"a.b": {"kind": "choice", "values": [1, 2]}})
    records = (TrialRecord(1, {"a.b": 2}, "finished", ((50, 0.4),)), TrialRecord(0, {}, "stopped", ((25, 0.2),)))
    table = trial_table(SweepView(settings, records, None, 1, [], ""))
    assert [column.header for column in table.columns] == ["trial", "b", "labels", "mAP", "area", ""]
    assert [list(column.cells) for column in table.columns][:2] == [["1", "0"], ["2", "–"]]


def test_a_dry_run_tells_the_trials_and_runs_nothing(written, tmp_path, capsys, call):
    assert call("tune", "-c", written, "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["configurations"] == [{}, {"strategy.kind": "entropy"}, {"strategy.kind": "margin"}]
    assert (told["trials"], told["labels_of_a_whole_trial"]) == (3, 60)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tune=null"], "tune is not set"),
        (["arms={a: {}}"], "a search is of one strategy"),
        (["annotator.kind=files"], "a search needs annotator.kind=oracle"),
        (["training.validation=split"], "the search measures trials on that split; use cross_fit"),
        (["budget.total=700"], "budget.total is 700, but the train split holds 600 pairs"),
        (["tune.space={budget.total: {kind: int, low: 30, high: 90}}"], "cannot compare trials of different budget.total"),
        (
            ["tune.space={budget.total: {kind: int, low: 30, high: 900}}", "tune.objective=pareto"],
            "budget.total is 900, but the train split holds 600",
        ),
    ],
)
def test_a_search_that_cannot_be_made_is_refused_before_anything_starts(written, tmp_path, capsys, overrides, message, call):
    assert call("tune", "-c", written, *overrides) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()


def test_the_quick_start_is_as_small_as_it_says():
    experiment = load(str(Path(__file__).parent.parent / "configs" / "tune_quickstart.yaml"))
    assert (experiment.tune.num_trials, experiment.tune.scheduler, experiment.tune.algorithm) == (16, "asha", "optuna")


def test_the_job_hands_its_arguments_on():
    source = (Path(__file__).parent.parent / "jobs" / "tune.py").read_text()
    assert 'main(["tune", *sys.argv[1:]])' in source


@pytest.fixture
def ended(monkeypatch, written):
    """The verb with a search that has ended and final runs that were made: what is left is to tell it."""
    from xmr_ray import tune_cli
    from xmr_ray.cluster import search
    from xmr_ray.cluster.place import TrialPlacement
    from xmr_ray.cluster.runner import experiment_path
    from xmr_ray.cluster.trials import Sweep

    experiment = load(written)
    records = (
        TrialRecord(2, {"strategy.kind": "margin"}, "finished", ((20, 0.4), (60, 0.6))),
        TrialRecord(0, {}, "finished", ((20, 0.3), (60, 0.5))),
    )
    result = search.SearchResult(Sweep(experiment, experiment_path(experiment), 2, TrialPlacement(2, 0.25, 0.0, 1.0)), records, None)

    def run_search(_experiment, *, on_trial):
        for record in records:
            on_trial(record)
        return result

    final = []
    monkeypatch.setattr(search, "run_search", run_search)
    monkeypatch.setattr(search, "run_final", final.append)
    monkeypatch.setattr(tune_cli, "summary_rows", lambda folder: [SummaryRow("best", 1, 60, 0.5, 0.7, 0.6, None)])
    return final


def test_the_best_configuration_is_written_and_is_one_that_run_takes(ended, written, tmp_path, capsys, call):
    assert call("tune", "-c", written) == 0
    told = capsys.readouterr().out
    assert "trial   2  finished at 60 labels, mAP 0.600  strategy.kind=margin" in told
    assert "test split, measured once, after the search:" in told
    assert len(ended) == 1
    path = tmp_path / "runs" / "tiny" / "tune" / "best.yaml"
    assert path.read_text().startswith(f"# xmr-ray run -c {path}\n#\n# Found by a search on the validation split; it changes strategy.kind=margin.")
    best = load(str(path))
    assert (best.name, best.strategy.kind, best.budget.total, best.tune, best.arms) == ("tiny-best", "margin", 60, None, {})
    assert best.evaluation.split == "test"
    assert (tmp_path / "runs" / "tiny" / "tune" / "index.html").exists()


def test_machines_are_told_in_one_object(ended, written, capsys, call):
    assert call("tune", "-c", written, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["best"], [trial["value"] for trial in told["trials"]]) == (2, ["0.4000", "0.3167"])
    assert told["test"][0]["arm"] == "best"
