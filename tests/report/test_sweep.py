import csv
import re
from dataclasses import replace

import pytest

from xmr_ray.report.progress import SummaryRow
from xmr_ray.report.sweep import SweepView, build_sweep_page, short_name, told_value, trials_tsv
from xmr_ray.tuning.records import TrialRecord
from xmr_ray.tuning.settings import TuneSettings

SPACE = {"strategy.lambda_": {"kind": "uniform", "low": 0, "high": 1}, "training.heads.steps": {"kind": "choice", "values": [1, [2, 3]]}}
RECORDS = (
    TrialRecord(2, {"strategy.lambda_": 0.9, "training.heads.steps": 1}, "finished", ((50, 0.5), (100, 0.6))),
    TrialRecord(0, {}, "finished", ((50, 0.4), (100, 0.5))),
    TrialRecord(1, {"strategy.lambda_": 0.1, "training.heads.steps": [2, 3]}, "stopped", ((50, 0.3),)),
    TrialRecord(3, {"strategy.lambda_": 0.2, "training.heads.steps": 1}, "refused", why="lambda_ is <b>0.2</b>;\nexpected more"),
)
FINAL = [SummaryRow("best", 2, 100, 0.61, 0.62, 0.615, None), SummaryRow("default", 2, 100, 0.51, 0.52, 0.515, None)]


def view_of(records=RECORDS, *, target=None, **settings):
    return SweepView(TuneSettings(space=SPACE, **settings), records, target, 2, FINAL, "xmr-ray tune -c x.yaml")


def test_names_are_as_short_as_they_can_be_told_apart():
    space = {"a.b.steps": 1, "c.b.steps": 1, "c.x": 1}
    assert [short_name(path, space) for path in space] == ["a.b.steps", "c.b.steps", "x"]


def test_what_a_trial_is_worth_is_told_in_the_terms_of_the_objective():
    assert told_value(RECORDS[0], None) == "0.4000"  # (50 * .25 + 50 * .55) / 100
    assert [told_value(record, 0.45) for record in RECORDS] == ["50", "75", "not reached", "–"]


def test_the_table_has_every_trial_with_settings_and_curve():
    rows = list(csv.DictReader(trials_tsv(view_of()).decode().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["trial"] for row in rows] == ["2", "0", "1", "3"]
    assert [row["status"] for row in rows] == ["finished", "finished", "stopped", "refused"]
    assert [row["training.heads.steps"] for row in rows] == ["1", "default", "[2, 3]", "1"]
    assert rows[2]["curve"] == "50:0.300000"
    assert rows[3]["why"] == "lambda_ is <b>0.2</b>; expected more"


def test_seconds_are_no_part_of_the_table():
    slower = [replace(record, seconds=9.0) for record in RECORDS]
    assert trials_tsv(view_of(slower)) == trials_tsv(view_of())


@pytest.mark.slow
def test_the_page_says_what_was_found_and_what_the_test_split_said(tmp_path):
    path = build_sweep_page(str(tmp_path), "mine", view_of())
    page = (tmp_path / "index.html").read_text()
    assert path == str(tmp_path / "index.html")
    text = " ".join(re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.S).split())
    assert "Trial 2 is best: area 0.4000 on the validation split, the default has 0.3250." in text
    assert "with 2 seeds and measured on the test split, which no trial had opened" in text
    assert "best 2 100 0.610 0.620 0.615" in text
    assert "&lt;b&gt;0.2" in page, "what a message holds is no markup"
    assert "Rings" not in text
    loads = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert loads
    assert all(load.startswith("data:") for load in loads), "the page is one file"
    assert {found.name for found in tmp_path.iterdir()} == {"index.html", "trials.tsv", "curves.png", "parallel.png", "importance.png"}


@pytest.mark.slow
def test_a_front_is_shown_where_it_was_asked_for_and_a_default_that_was_best_is_said_so(tmp_path):
    build_sweep_page(str(tmp_path), "mine", view_of((RECORDS[1], RECORDS[2]), objective="pareto"))
    text = " ".join(re.sub(r"<[^>]+>", " ", (tmp_path / "index.html").read_text()).split())
    assert "No trial was better than the default configuration (area 0.3250 on the validation split)." in text
    assert "What labels buy" in text
