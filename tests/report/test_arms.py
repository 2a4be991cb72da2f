import numpy as np
import pytest
from scipy import stats

from xmr_ray.report.arms import common_range, final_labels, full_supervision, mean_curve, run_curve, space_rows, summarise_arms
from xmr_ray.report.experiment import read_experiment
from xmr_ray.report.settings import ReportSettings

CURVES = {
    "random": [[(50, 0.40, 0.44), (100, 0.50, 0.52), (200, 0.60, 0.60)], [(50, 0.42, 0.40), (100, 0.48, 0.50), (200, 0.58, 0.62)]],
    "entropy": [[(50, 0.40, 0.44), (100, 0.56, 0.58), (200, 0.66, 0.66)], [(50, 0.42, 0.40), (100, 0.54, 0.58), (200, 0.64, 0.68)]],
}
FULL = (1000, 0.70, 0.74)


@pytest.fixture
def experiment(tmp_path, make):
    for arm, curves in CURVES.items():
        for seed, curve in enumerate(curves):
            make.run(tmp_path, arm, seed, curve)
    make.run(tmp_path, "full", 0, [FULL])
    return read_experiment(str(tmp_path))


def means(arm, index):
    return [(curve[index][1] + curve[index][2]) / 2 for curve in CURVES[arm]]


def test_summary_equals_a_calculation_by_hand(experiment):
    random, entropy, full = summarise_arms(experiment, ReportSettings())
    assert (random.arm, entropy.arm, full.arm) == ("random", "entropy", "full")
    assert entropy.labels == 200
    assert entropy.final["mean"].mean == pytest.approx(np.mean(means("entropy", 2)))
    assert entropy.final["i2t"].mean == pytest.approx(0.65)
    low, high = stats.t.interval(0.95, 1, loc=np.mean([0.66, 0.64]), scale=stats.sem([0.66, 0.64]))
    assert (entropy.final["i2t"].low, entropy.final["i2t"].high) == pytest.approx((low, high))
    assert entropy.share == pytest.approx(np.mean(means("entropy", 2)) / 0.72)
    assert full.share == pytest.approx(1.0)
    assert (full.reached, full.area, full.ahead, random.ahead) == ((), None, None, None)


def test_labels_needed_are_those_of_each_seed(experiment):
    entropy = summarise_arms(experiment, ReportSettings(shares=(0.9, 0.95)))[1]
    target = 0.9 * 0.72
    needed = []
    for curve in CURVES["entropy"]:
        values = [(i2t + t2i) / 2 for _, i2t, t2i in curve]
        needed.append(100 + (target - values[1]) / (values[2] - values[1]) * 100)
    assert entropy.reached[0].labels.mean == pytest.approx(np.mean(needed))
    assert (entropy.reached[0].num_reached, entropy.reached[0].num_seeds, entropy.reached[0].at_start) == (2, 2, False)
    assert (entropy.reached[1].labels, entropy.reached[1].num_reached) == (None, 0)


def test_start_above_the_line_is_marked(experiment):
    random = summarise_arms(experiment, ReportSettings(shares=(0.5,)))[0]
    assert random.reached[0].at_start
    assert random.reached[0].labels.mean == 50


def test_difference_is_paired_by_seed(experiment):
    entropy = summarise_arms(experiment, ReportSettings())[1]
    differences = np.subtract(means("entropy", 2), means("random", 2))
    assert entropy.ahead.mean == pytest.approx(differences.mean())
    assert entropy.ahead.half == pytest.approx(stats.t.ppf(0.975, 1) * stats.sem(differences), abs=1e-9)


def test_area_is_taken_over_the_labels_that_all_runs_cover(experiment, tmp_path, make):
    random = summarise_arms(experiment, ReportSettings())[0]
    by_hand = [50 * (a + b) / 2 + 100 * (b + c) / 2 for a, b, c in zip(means("random", 0), means("random", 1), means("random", 2), strict=True)]
    assert random.area.mean == pytest.approx(np.mean(by_hand) / 150)
    make.run(tmp_path, "margin", 0, [(100, 0.5, 0.5), (150, 0.6, 0.6)])
    wider = read_experiment(str(tmp_path))
    assert common_range([run for run in wider.runs if run.arm != "full"]) == (100, 150)
    assert summarise_arms(wider, ReportSettings())[1].area.num == 2


def test_a_seed_that_lags_behind_does_not_mix_with_finished_ones(tmp_path, make):
    make.run(tmp_path, "random", 0, [(50, 0.4, 0.4), (100, 0.5, 0.5), (200, 0.9, 0.9)])
    make.run(tmp_path, "random", 1, [(50, 0.2, 0.2), (100, 0.3, 0.3)])
    runs = read_experiment(str(tmp_path)).of_arm("random")
    assert final_labels(runs) == 100
    points = mean_curve(runs, "mean", confidence=0.95)
    assert [(point.labels, point.value.num, point.whole) for point in points] == [(50, 2, True), (100, 2, True), (200, 1, False)]
    assert points[1].value.mean == pytest.approx(0.4)


def test_of_rounds_with_equally_many_labels_the_last_counts(tmp_path, make):
    make.run(tmp_path, "random", 0, [(50, 0.4, 0.4), (50, 0.6, 0.6)])
    assert run_curve(read_experiment(str(tmp_path)).runs[0], "i2t") == [(50.0, pytest.approx(0.6))]


def test_without_full_supervision_there_are_no_shares(tmp_path, make):
    make.run(tmp_path, "entropy", 0, [(50, 0.4, 0.4)])
    experiment = read_experiment(str(tmp_path))
    (row,) = summarise_arms(experiment, ReportSettings())
    assert full_supervision(experiment, ReportSettings()) is None
    assert (row.share, row.reached, row.area, row.ahead) == (None, (), None, None)


def test_every_space_has_its_row(experiment):
    rows = {(row.arm, row.space): row for row in space_rows(experiment, ReportSettings())}
    assert len(rows) == 6
    prob, feature = rows["entropy", "prob"], rows["entropy", "feature"]
    assert (prob.chosen_by, feature.chosen_by) == (2, 0)
    assert prob.maps["mean"].mean - feature.maps["mean"].mean == pytest.approx(0.02)
    assert prob.map_50 == pytest.approx(np.mean(means("entropy", 2)) + 0.1)
    assert prob.recall[5] == pytest.approx(np.mean(means("entropy", 2)) / 5)
