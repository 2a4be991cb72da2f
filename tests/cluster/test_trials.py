"""The parts of a trial; whole trials run in `test_search.py`."""

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.cluster.place import TrialPlacement
from xmr_ray.cluster.score import ScoringActor, ScoringJob, score_here
from xmr_ray.cluster.trials import Judge, StoppedError, Sweep, copy_round, first_round_key, run_trial, trial_run
from xmr_ray.config import validate
from xmr_ray.scoring.outputs import file_of
from xmr_ray.tuning.records import read_record

SPACE = {"strategy.lambda_": {"kind": "log_uniform", "low": 1, "high": 9}}


def experiment(**content):
    return validate({"strategy": {"kind": "ascmr"}, "tune": {"space": SPACE, "reduction_factor": 2}, **content}, where="test")


def report(labels, height):
    return {"num_bought": labels, "space": "prob", "retrieval": {"prob": {"map_mean": height}}}


def test_a_trial_is_judged_at_its_rungs_alone():
    earlier = [[(50, 0.5), (100, 0.6), (150, 0.7)]]
    judge = Judge(experiment().tune, [2], earlier, [])
    judge.round_finished(report(50, 0.1))
    with pytest.raises(StoppedError):
        judge.round_finished(report(100, 0.2))
    assert judge.curve == [(50, 0.1), (100, 0.2)]
    good = Judge(experiment().tune, [2], earlier, [])
    for labels, height in ((50, 0.5), (100, 0.7), (150, 0.0)):
        good.round_finished(report(labels, height))


def test_a_first_round_is_shared_when_it_is_finished_and_its_report_comes_last(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("selection.parquet", "networks/networks.pt"):
        storage.write_whole(str(source / name), name.encode())
    copy_round(str(source), str(target))
    assert not target.exists(), "it is not finished"
    storage.write_whole(str(source / "report.json"), b"{}")
    written = []
    plain = storage.write_whole
    monkeypatch.setattr(storage, "write_whole", lambda path, data: (written.append(path), plain(path, data)))
    copy_round(str(source), str(target))
    assert [path.removeprefix(str(target) + "/") for path in written] == ["selection.parquet", "networks/networks.pt", "report.json"]
    copy_round(str(source), str(target))
    assert len(written) == 3, "what is finished is not written again"


def test_the_key_of_a_first_round_covers_what_it_depends_on_and_nothing_else():
    def key(overrides, *, num_pairs=50, heads=True, corpus="c"):
        return first_round_key(trial_run(experiment(), overrides), corpus, num_pairs, heads=heads)

    base = key({})
    assert key({"strategy.lambda_": 3.0, "scoring.num_cells": 9, "budget.per_round": 20}) == base
    others = [key({"training.targets.trust": 0.3}), key({"seed_strategy.kind": "random"}), key({}, num_pairs=40)]
    others += [key({}, heads=False), key({}, corpus="d")]
    assert len({base, *others}) == 6


def test_a_trial_that_the_configuration_or_the_corpus_refuses_leaves_a_record_that_says_why(tiny_corpus, tmp_path):
    sweep = Sweep(experiment(corpus={"path": tiny_corpus.path}), str(tmp_path), 2, TrialPlacement(2, 0.25, 0.0, 1.0))
    run_trial(sweep, 1, {"budget.total": 601})
    run_trial(sweep, 2, {"strategy.lambda_": -1.0})
    refused = [read_record(sweep.records, index) for index in (1, 2)]
    assert [record.status for record in refused] == ["refused", "refused"]
    assert "budget.total is 601, but the train split holds 600 pairs" in refused[0].why
    assert 'trial {"strategy.lambda_": -1.0}' in refused[1].why
    assert not (tmp_path / "trials").exists()


def test_what_is_scored_here_is_what_an_actor_writes_and_is_not_scored_twice(tiny_corpus, raw_networks, tmp_path):
    descriptors = tiny_corpus.descriptors("validation")
    here, there = (ScoringJob(tiny_corpus.path, "validation", raw_networks, str(tmp_path / name), 64, "f16", 1, use_gpu=False) for name in "ab")
    score_here(here, descriptors)
    ScoringActor(there)({"index": np.arange(len(descriptors))})
    for kind in ("scores", "embeddings", "predictions"):
        for descriptor in descriptors:
            assert storage.read_table(file_of(here.output, kind, descriptor)).equals(storage.read_table(file_of(there.output, kind, descriptor)))
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "a").rglob("*.parquet"))]
    score_here(here, descriptors)
    assert stamps == [path.stat().st_mtime_ns for path in sorted((tmp_path / "a").rglob("*.parquet"))]
