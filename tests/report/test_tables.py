import csv
import io
import json

import pytest

from xmr_ray.report.arms import space_rows, summarise_arms
from xmr_ray.report.experiment import read_experiment
from xmr_ray.report.settings import ReportSettings
from xmr_ray.report.tables import curves_csv, summary_json


def test_curves_hold_every_run_round_and_space(tmp_path, make):
    make.run(tmp_path, "random", 3, [(50, 0.3, 0.4), (100, 0.5, 0.6)])
    rows = list(csv.DictReader(io.StringIO(curves_csv(read_experiment(str(tmp_path))).decode())))
    assert [(row["arm"], row["seed"], row["round"], row["labels"], row["space"], row["chosen"]) for row in rows] == [
        ("random", "3", "0", "50", "feature", "0"),
        ("random", "3", "0", "50", "prob", "1"),
        ("random", "3", "1", "100", "feature", "0"),
        ("random", "3", "1", "100", "prob", "1"),
    ]
    last = {name: float(value) for name, value in rows[-1].items() if name.startswith(("map", "recall"))}
    assert last == pytest.approx(
        {"map_mean": 0.55, "map_i2t": 0.5, "map_50_i2t": 0.6, "recall_1_i2t": 0.05, "recall_5_i2t": 0.1, "recall_10_i2t": 0.25}
        | {"map_t2i": 0.6, "map_50_t2i": 0.7, "recall_1_t2i": 0.06, "recall_5_t2i": 0.12, "recall_10_t2i": 0.3}
    )


def test_summary_is_json_without_nan(tmp_path, make):
    run = make.run(tmp_path, "random", 0, [(50, 0.3, 0.4)])
    report = run.round(0).read_report()
    report["retrieval"]["prob"]["i2t"]["map_all"] = float("nan")
    run.round(0).write_report(report)
    make.purchase(run.round(1), [1])
    experiment, settings = read_experiment(str(tmp_path)), ReportSettings()
    content = json.loads(summary_json(experiment, summarise_arms(experiment, settings), space_rows(experiment, settings)))
    assert content["arms"][0]["final"]["t2i"] == {"mean": 0.4, "half": None, "num": 1}
    assert content["arms"][0]["final"]["i2t"]["mean"] is None
    assert content["runs"] == [{"run": "random-s0", "finished_rounds": [0], "unfinished_rounds": [1]}]
