import pytest

from xmr_ray import storage
from xmr_ray.errors import RunError
from xmr_ray.report.experiment import read_experiment
from xmr_ray.report.progress import run_rows, stage_rows, summary_rows
from xmr_ray.report.settings import ReportSettings
from xmr_ray.runs.directory import RunDirectory


def test_summary_rows(tmp_path, make):
    make.run(tmp_path, "random", 0, [(50, 0.3, 0.4), (100, 0.5, 0.6)])
    make.run(tmp_path, "random", 1, [(50, 0.3, 0.4), (100, 0.4, 0.7)])
    make.run(tmp_path, "full", 0, [(900, 0.8, 0.8)])
    random, full = summary_rows(str(tmp_path))
    assert (random.arm, random.num_seeds, random.labels) == ("random", 2, 100)
    assert (random.map_i2t, random.map_t2i, random.map_mean) == pytest.approx((0.45, 0.65, 0.55))
    assert (random.share_of_full, full.share_of_full) == pytest.approx((0.55 / 0.8, 1.0))


def test_summary_rows_without_a_finished_round(tmp_path):
    with pytest.raises(RunError, match=str(tmp_path)):
        summary_rows(str(tmp_path))


def test_states_of_runs(tmp_path, make):
    make.run(tmp_path, "random", 0, [(50, 0.3, 0.4), (100, 0.5, 0.6)])
    make.run(tmp_path, "random", 1, [(50, 0.3, 0.4)])
    make.run(tmp_path, "full", 0, [(900, 0.8, 0.8)])
    asked = make.run(tmp_path, "entropy", 0, [(50, 0.3, 0.4)])
    make.purchase(asked.round(1), [1, 2], answered=False)
    bought = make.run(tmp_path, "entropy", 1, [(50, 0.3, 0.4)])
    make.purchase(bought.round(1), [1, 2])
    (tmp_path / "entropy-s2").mkdir()
    (tmp_path / "entropy-s3" / "rounds" / "000").mkdir(parents=True)
    rows = {row.name: row for row in run_rows(read_experiment(str(tmp_path)), ReportSettings())}
    assert {name: (row.open, row.state) for name, row in rows.items()} == {
        "random-s0": (False, "every round begun is finished"),
        "random-s1": (True, "at round 0; another run is at round 1"),
        "full-s0": (False, "every round begun is finished"),
        "entropy-s0": (True, "round 1 unfinished: labels asked for"),
        "entropy-s1": (True, "round 1 unfinished: labels bought, not yet evaluated"),
        "entropy-s2": (True, "no round begun"),
        "entropy-s3": (True, "round 0 unfinished: begun"),
    }
    assert (rows["random-s0"].labels, rows["entropy-s2"].labels) == (100, None)
    assert rows["random-s0"].fingerprint == "random0" + "0" * 5
    assert rows["entropy-s2"].fingerprint is None
    assert rows["random-s0"].config == RunDirectory(str(tmp_path / "random-s0")).config


def test_a_round_without_a_label_to_learn_from_is_not_waited_for(tmp_path, make):
    run = make.run(tmp_path, "random", 0, [(50, 0.3, 0.4), (100, 0.5, 0.6)])
    storage.remove_file(run.round(0).report)
    (row,) = run_rows(read_experiment(str(tmp_path)), ReportSettings())
    assert (row.open, row.num_finished, row.state) == (False, 1, "every round begun is finished")


def test_seconds_by_stage(tmp_path, make):
    make.run(tmp_path, "random", 0, [(50, 0.3, 0.4), (100, 0.5, 0.6)])
    run = make.run(tmp_path, "random", 4, [(50, 0.3, 0.4)])
    report = run.round(0).read_report()
    run.round(0).write_report(report | {"seconds": {"select": 3.0, "train": 14.0}})
    (row,) = stage_rows(read_experiment(str(tmp_path)), ReportSettings())
    assert list(row.seconds) == ["select", "train", "evaluate"]
    assert row.seconds == pytest.approx({"select": 1.0, "train": 34 / 3, "evaluate": 4 / 3})
    assert (row.num_rounds, row.total) == (3, pytest.approx(41.0))
