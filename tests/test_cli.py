import json
import runpy
import sys
from pathlib import Path

import pytest

from xmr_ray import cli
from xmr_ray.errors import CheckpointError, LedgerError, ReaderError, ResourceError, StorageError, TrainingError, XmrError
from xmr_ray.stopping import EXIT_CODES

VERBS = {"ingest", "embed", "run", "score", "train", "evaluate", "report", "doctor", "label", "tune"}
SYNTHETIC = "{kind: synthetic, num_train: 40, num_validation: 0, num_test: 12, image_dim: 6, text_dim: 5}"


@pytest.mark.parametrize(
    ("error", "code"),
    [(ReaderError, 3), (CheckpointError, 4), (LedgerError, 4), (TrainingError, 4), (ResourceError, 5), (StorageError, 6), (XmrError, 1)],
)
def test_every_error_has_its_documented_exit_code(error, code):
    assert next(number for kind, number in EXIT_CODES if issubclass(error, kind)) == code
    assert f"{code} " in cli.__doc__


def test_a_dry_run_tells_what_would_be_bought_and_runs_nothing(written, tmp_path, capsys, call):
    assert call("run", "-c", written, "--dry-run", "--json", "strategy.kind=entropy", "full=true") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["purchases"] == {"entropy-s0": [20, 20, 20], "full-s0": [600]}
    assert told["labels_bought"] == {"entropy-s0": 60, "full-s0": 600}
    assert told["config"]["strategy"] == {"kind": "entropy"}
    assert not (tmp_path / "runs").exists()


def test_a_budget_larger_than_the_pool_is_refused_before_anything_starts(written, tmp_path, capsys, call):
    assert call("run", "-c", written, "budget.total=601") == 2
    assert "budget.total is 601, but the train split holds 600 pairs" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_wrong_key_is_named_with_what_was_probably_meant(written, capsys, call):
    assert call("run", "-c", written, "budget.totl=3") == 2
    assert "unknown key 'budget.totl', did you mean total" in capsys.readouterr().err


def test_a_corpus_that_is_not_there_is_named(written, capsys, call):
    assert call("run", "-c", written, "corpus.path=/nowhere/at/all") == 3
    assert "/nowhere/at/all: no corpus here" in capsys.readouterr().err


def test_a_report_of_nothing_says_what_to_do(written, capsys, call):
    assert call("report", "-c", written) == 4
    assert "xmr-ray run" in capsys.readouterr().err


def test_ingest_writes_what_the_reader_reads_and_leaves_a_finished_corpus_alone(tmp_path, capsys, call):
    path = tmp_path / "synthetic.yaml"
    path.write_text(f"corpus:\n  path: {tmp_path}/corpus\n  reader: {SYNTHETIC}\n")
    assert call("ingest", "-c", str(path), "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["pairs"] == {"train": 40, "test": 12}
    stamps = {file: file.stat().st_mtime_ns for file in Path(first["corpus"]).rglob("*") if file.is_file()}
    assert call("ingest", "-c", str(path), "--json") == 0
    assert json.loads(capsys.readouterr().out) == first
    assert stamps == {file: file.stat().st_mtime_ns for file in Path(first["corpus"]).rglob("*") if file.is_file()}
    assert call("doctor", "-c", str(path), "budget.total=40") == 0
    assert "sound" in capsys.readouterr().out


def test_ingest_without_a_reader_says_so(written, capsys, call):
    assert call("ingest", "-c", written) == 2
    assert "corpus.reader is not set" in capsys.readouterr().err


def test_the_doctor_finds_a_flipped_byte(tmp_path, capsys, call):
    path = tmp_path / "synthetic.yaml"
    path.write_text(f"corpus:\n  path: {tmp_path}/corpus\n  reader: {SYNTHETIC}\nbudget: {{total: 40}}\n")
    assert call("ingest", "-c", str(path), "--json") == 0
    shard = next((tmp_path / "corpus" / "train").glob("*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 0xFF
    shard.write_bytes(data)
    capsys.readouterr()
    assert call("doctor", "-c", str(path)) == 3
    assert shard.name in capsys.readouterr().out


def test_every_job_hands_its_arguments_to_its_verb(monkeypatch):
    jobs = sorted((Path(__file__).parent.parent / "jobs").glob("*.py"))
    assert {job.stem for job in jobs} == VERBS
    for job in jobs:
        assert len(job.read_text().splitlines()) <= 20
        handed = []
        monkeypatch.setattr(cli, "main", handed.append)
        monkeypatch.setattr(sys, "argv", [str(job), "-c", "x.yaml", "a.b=1"])
        runpy.run_path(str(job), run_name="__main__")
        assert handed == [[job.stem, "-c", "x.yaml", "a.b=1"]]


@pytest.mark.parametrize("verb", sorted(VERBS - {"label"}))
def test_every_verb_tells_how_it_is_used_and_is_named_in_the_help(verb, capsys, call):
    assert call(verb, "--help") == 0
    told = capsys.readouterr().out
    assert all(option in told for option in ("--config", "--json", "--dry-run"))
    assert verb in cli.__doc__.splitlines()[0]
