import json
import os

import pytest

from xmr_ray.options import final_table, loaded, round_line, tell
from xmr_ray.report.progress import SummaryRow

FINISHED = {
    "round": 2,
    "num_bought": 60,
    "num_validation_labels": 5,
    "space": "prob",
    "seconds": {"train": 1.0, "evaluate": 0.5},
    "retrieval": {"prob": {"map_mean": 0.5, "i2t": {"map_all": 0.25}, "t2i": {"map_all": 0.75}}},
}


def test_a_round_in_one_line_counts_every_label_paid_for():
    assert round_line("random-s0", FINISHED) == "random-s0      round  2      65 labels  mAP 0.500 (i2t 0.250, t2i 0.750)    1.5 s"


def test_a_round_measured_by_held_out_pairs_says_so_also_where_there_are_none_yet():
    nothing = {"prob": {"map_mean": None, "i2t": {"map_all": None}, "t2i": {"map_all": None}}}
    assert "mAP – (i2t –, t2i –) among 0 held out" in round_line("random-s0", {**FINISHED, "retrieval": nothing, "num_held_out": 0})


def test_the_final_table_has_a_dash_where_there_is_no_figure():
    table = final_table([SummaryRow("random", 2, 60, 0.5, 0.25, float("nan"), 0.912)])
    assert [list(column.cells) for column in table.columns] == [["random"], ["2"], ["60"], ["0.500"], ["0.250"], ["–"], ["91.2%"]]


@pytest.mark.parametrize("as_json", [True, False])
def test_names_and_values_are_told_to_people_and_to_machines(capsys, as_json):
    tell({"num_pairs": 3, "file": "[a]"}, as_json=as_json)
    told = capsys.readouterr().out
    assert (json.loads(told) if as_json else told.splitlines()) == ({"num_pairs": 3, "file": "[a]"} if as_json else ["num pairs: 3", "file: [a]"])


def test_an_address_of_ray_is_set_before_the_engine_is_imported(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    (tmp_path / "c.yaml").write_text("name: x\n")
    assert loaded(str(tmp_path / "c.yaml"), None).name == "x"
    assert os.environ["RAY_ADDRESS"] == "elsewhere:1"
    loaded(str(tmp_path / "c.yaml"), ["resources.address=here:2"])
    assert os.environ["RAY_ADDRESS"] == "here:2"


def test_a_figure_that_is_not_there_is_null_in_json(capsys):
    tell({"runs": [{"map": float("nan"), "labels": 3}], "sizes": (1, 2)}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"runs": [{"map": None, "labels": 3}], "sizes": [1, 2]}
