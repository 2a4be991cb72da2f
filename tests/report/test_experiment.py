import math

import pytest

from xmr_ray.errors import RunError
from xmr_ray.report.experiment import read_experiment
from xmr_ray.runs.directory import RunDirectory


def test_runs_rounds_and_labels(tmp_path, make):
    make.run(tmp_path, "random", 1, [(50, 0.4, 0.5), (100, 0.5, 0.6)], num_validation_labels=20)
    make.run(tmp_path, "random", 0, [(50, 0.41, 0.51)])
    make.run(tmp_path, "full", 0, [(400, 0.7, 0.8)])
    make.run(tmp_path, "a-s1", 12, [(50, 0.3, 0.3)])
    (tmp_path / "report").mkdir()
    (tmp_path / "notes-sX").mkdir()
    experiment = read_experiment(str(tmp_path))
    assert [(run.arm, run.seed) for run in experiment.runs] == [("a-s1", 12), ("full", 0), ("random", 0), ("random", 1)]
    assert experiment.name == tmp_path.name
    assert experiment.arms() == ["random", "a-s1", "full"]
    second = experiment.of_arm("random")[1]
    assert [finished.labels for finished in second.finished] == [50, 100]
    assert second.finished[1].chosen.map_mean == pytest.approx(0.55)
    assert second.finished[1].chosen.i2t.recall[10] == pytest.approx(0.25)
    assert set(second.finished[1].retrieval) == {"prob", "feature"}


def test_bought_and_validation_labels_are_added(tmp_path, make):
    run = make.run(tmp_path, "random", 0, [(70, 0.4, 0.5)], num_validation_labels=20)
    assert run.round(0).read_report()["num_bought"] == 50
    assert read_experiment(str(tmp_path)).runs[0].finished[0].labels == 70


def test_unfinished_rounds_and_runs_are_kept(tmp_path, make):
    run = make.run(tmp_path, "random", 0, [(50, 0.4, 0.5)])
    make.purchase(run.round(1), [1, 2], answered=False)
    make.purchase(RunDirectory(str(tmp_path / "entropy-s0")).round(0), [3])
    experiment = read_experiment(str(tmp_path))
    assert {run.name: [begun.index for begun in run.unfinished] for run in experiment.runs} == {"entropy-s0": [0], "random-s0": [1]}
    assert experiment.arms() == ["random"]


def test_nothing_finished_names_the_folder_and_the_way_out(tmp_path, make):
    with pytest.raises(RunError, match=r"no run folder.*xmr-ray run"):
        read_experiment(str(tmp_path))
    make.purchase(RunDirectory(str(tmp_path / "entropy-s0")).round(0), [3])
    with pytest.raises(RunError, match=rf"{tmp_path}: no finished round.*1 runs.*goes on"):
        read_experiment(str(tmp_path))
    with pytest.raises(RunError, match="no such experiment folder"):
        read_experiment(str(tmp_path / "absent"))


def test_a_foreign_report_is_named(tmp_path, make):
    run = make.run(tmp_path, "random", 0, [(50, 0.4, 0.5)])
    run.round(1).write_report({"round": 1})
    with pytest.raises(RunError, match=r"001/report\.json: not a round's report \(KeyError: 'retrieval'\)"):
        read_experiment(str(tmp_path))
    run.round(1).write_report(make.report(1, "random", 0, labels=10, space="other", prob=(0.1, 0.1)))
    with pytest.raises(RunError, match=r"space 'other' has no retrieval figures, found \['prob'\]"):
        read_experiment(str(tmp_path))


def test_absent_figures_are_nan(tmp_path, make):
    run = make.run(tmp_path, "random", 0, [(50, 0.4, 0.5)])
    report = run.round(0).read_report()
    report["retrieval"]["prob"]["i2t"]["map_all"] = None
    run.round(0).write_report(report)
    assert math.isnan(read_experiment(str(tmp_path)).runs[0].finished[0].chosen.i2t.map_all)
