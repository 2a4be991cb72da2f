import json
from pathlib import Path

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.errors import CheckpointError, RunError
from xmr_ray.runs.directory import RoundDirectory, RunDirectory, read_json
from xmr_ray.types import Selection


def test_a_selection_reads_back_with_its_reasons_in_its_order(tmp_path):
    place = RunDirectory(str(tmp_path)).round(3)
    assert place.read_selection() is None
    selection = Selection(np.array([7, 2, 5]), np.array([0.9, 0.9, 0.1]), {"entropy": np.array([1.5, 0.25, 0.125])})
    place.write_selection(selection)
    back = place.read_selection()
    assert back.pair_ids_n.tolist() == [7, 2, 5]
    assert back.utility_n.tolist() == [0.9, 0.9, 0.1]
    assert back.reasons["entropy"].tolist() == [1.5, 0.25, 0.125]


def test_rounds_are_listed_in_order_and_a_report_finishes_one(tmp_path):
    run = RunDirectory(str(tmp_path))
    for index in (11, 2):
        run.round(index).write_report({"round": index})
    assert [place.index for place in run.rounds()] == [2, 11]
    assert run.round(2).read_report() == {"round": 2}
    assert run.round(3).read_report() is None


def test_a_run_is_begun_once_and_refuses_another_configuration(tmp_path):
    run = RunDirectory(str(tmp_path))
    run.begin("a: 1\n", "f" * 64)
    run.begin("a: 1\n", "f" * 64)
    assert run.fingerprint() == "f" * 64
    with pytest.raises(RunError, match=r"another configuration or corpus \(fingerprint ffffffffffff, now 000000000000\).*--accept-change"):
        run.begin("a: 2\n", "0" * 64)
    assert "a: 1" in (tmp_path / "config.yaml").read_text()


def test_a_change_that_is_asked_for_keeps_the_earlier_configuration(tmp_path):
    run = RunDirectory(str(tmp_path))
    run.begin("a: 1\n", "f" * 64)
    run.begin("a: 2\n", "0" * 64, accept_change=True)
    assert run.fingerprint() == "0" * 64
    assert "a: 1" in (tmp_path / "config.ffffffffffff.yaml").read_text()


def test_an_edited_configuration_is_told(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1\n")
    with pytest.raises(RunError, match="not to be edited"):
        RunDirectory(str(tmp_path)).fingerprint()


def test_a_configuration_cut_short_anywhere_is_refused(tmp_path):
    run = RunDirectory(str(tmp_path))
    run.begin("a: 1\nb: 2\n", "f" * 64)
    data = (tmp_path / "config.yaml").read_bytes()
    for length in range(len(data)):
        (tmp_path / "config.yaml").write_bytes(data[:length])
        with pytest.raises(RunError, match=r"config\.yaml|another configuration"):
            run.begin("a: 1\nb: 2\n", "f" * 64)


def test_a_choice_is_made_once(tmp_path):
    run = RunDirectory(str(tmp_path))
    assert run.choice("training.num_workers", 0) == 0
    assert RunDirectory(str(tmp_path)).choice("training.num_workers", 4) == 0
    assert run.choice("other", "x") == "x"
    assert read_json(str(tmp_path / "choices.json")) == {"other": "x", "training.num_workers": 0}
    assert json.loads((tmp_path / "choices.json").read_text()).keys() == {"other", "seal", "training.num_workers"}


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(RunError, match=r"report\.json: not valid JSON"):
        read_json(str(tmp_path / "report.json"))


@pytest.mark.parametrize("name", ["report.json", "config.yaml"])
def test_no_flipped_bit_of_a_report_or_configuration_is_believed(tmp_path, name):
    run = RunDirectory(str(tmp_path))
    run.begin("a: 1\n", "f" * 64)
    place = RoundDirectory(str(tmp_path), 0)
    place.write_report({"round": 3, "map": {1: 0.25, 10: 0.5}})
    data = (tmp_path / name).read_bytes()
    refusals = []
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / name).write_bytes(damaged)
        try:
            told = place.read_report() if name == "report.json" else run.begin("a: 1\n", "f" * 64)
        except RunError as error:
            refusals.append(str(error))
        else:  # white space, or the name of the seal
            assert name == "config.yaml" or {key: told[key] for key in ("round", "map")} == {"round": 3, "map": {"1": 0.25, "10": 0.5}}
    assert len(refusals) > 0.7 * 8 * len(data)
    assert all(name in told for told in refusals)


def test_networks_are_known_by_the_hash_that_was_written_before_them(tmp_path):
    place = RunDirectory(str(tmp_path)).round(0)
    assert place.networks_digest() is None
    place.write_networks(b"weights")
    assert place.networks_digest() == storage.digest_bytes(b"weights")
    Path(place.networks).write_bytes(b"weightz")
    with pytest.raises(CheckpointError, match=r"networks\.pt: damaged"):
        place.networks_digest()
    Path(place.networks_seal).unlink()
    assert place.networks_digest() == storage.digest_bytes(b"weightz"), "networks of a run that has no seals yet"


def test_a_change_drops_what_was_trained_in_a_round_that_is_not_reported(tmp_path):
    run = RunDirectory(str(tmp_path))
    run.begin("a: 1\n", "f" * 64)
    for index in (0, 1):
        (tmp_path / "rounds" / f"00{index}" / "networks").mkdir(parents=True)
        (tmp_path / "rounds" / f"00{index}" / "networks" / "networks.pt").write_text("x")
        (tmp_path / "rounds" / f"00{index}" / "labels.parquet").write_text("receipt")
    run.round(0).write_report({})
    run.begin("a: 2\n", "0" * 64, accept_change=True)
    assert (tmp_path / "rounds" / "000" / "networks" / "networks.pt").exists()
    assert not (tmp_path / "rounds" / "001" / "networks").exists()
    assert (tmp_path / "rounds" / "001" / "labels.parquet").exists(), "receipts always stay"
