"""Ray Train around the epoch loops: one process or several, rows in memory or streamed, restarts."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from xmr_ray.cluster.place import Placement
from xmr_ray.cluster.train import SHARD, FileCheckpoints, TrainJob, descriptor_dataset, fit_in_worker, needs_streaming, streamed_rows, train_round
from xmr_ray.config import validate
from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import CheckpointError, LedgerError
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import SyntheticReader
from xmr_ray.runs.directory import RoundDirectory
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import ResidentRows
from xmr_ray.types import LabelSet

LOCAL = Placement(count=0, cpus=0.5, gpus=0.0, threads=1)
TWO = Placement(count=2, cpus=0.5, gpus=0.0, threads=1)
QUICK = {"label_predictor": {"steps": 30}, "common_space": {"steps": 24, "batch_size": 100}, "precision": "f32"}
NO_DROPOUT = {"network": {"input_dropout": 0.0, "dropout": 0.0}}
STILL = {"label_predictor": QUICK["label_predictor"] | NO_DROPOUT, "common_space": QUICK["common_space"] | NO_DROPOUT}


@pytest.fixture
def job_of(tiny_corpus, tmp_path):
    bought = open_truth(tiny_corpus, "train").take(tiny_corpus.pair_ids("train")[::8])

    def make(name, *, training=None, **changes):
        config = validate({"training": {**QUICK, **(training or {})}}, where="test").training
        job = TrainJob(
            corpus=tiny_corpus,
            place=RoundDirectory(str(tmp_path / name), 0),
            config=config,
            bought=bought,
            validation=None,
            seed=3,
            threads=1,
            use_gpu=False,
            streamed=False,
            max_failures=0,
        )
        return dataclasses.replace(job, **changes)

    return make


def weights_of(job):
    networks = RoundNetworks.load(job.place.networks)
    states = (networks.label_predictor.state_dict(), networks.common_space.state_dict())
    return torch.cat([value.flatten().double() for state in states for value in state.values()])


@pytest.mark.slow
def test_local_mode_leaves_networks_and_numbers_without_any_ray_process(job_of):
    job = job_of("local")
    train_round(job, LOCAL)
    numbers = json.loads(Path(job.place.training).read_text())
    assert (numbers["workers"], numbers["streamed"]) == (1, False)
    assert torch.isfinite(weights_of(job)).all()


@pytest.mark.ray
def test_two_workers_equal_one_without_dropout(session, job_of):
    one, two = job_of("one", training=STILL), job_of("two", training=STILL)
    train_round(one, LOCAL)
    train_round(two, TWO)
    assert json.loads(Path(two.place.training).read_text())["workers"] == 2
    difference = (weights_of(one) - weights_of(two)).abs().max().item()
    assert difference < 1e-4


def visit(config):
    """A worker that writes down which pairs it sees in two epochs, from rows in memory and streamed."""
    job, ranks = config["job"], Ranks.current()
    resident = ResidentRows(job.corpus, ranks=ranks, seed=job.seed)
    for name, rows in (("resident", resident), ("streamed", streamed_rows(job, ranks))):
        for epoch in (0, 1):
            seen = [int(i) for batch in rows.epoch(epoch, 50) for i, w in zip(batch.pair_ids_B, batch.weight_B, strict=True) if w > 0]
            Path(config["folder"], f"{name}-{epoch}-{ranks.rank}.json").write_text(json.dumps(seen))


@pytest.mark.ray
def test_rows_in_memory_and_streamed_rows_are_each_seen_once_an_epoch_by_two_workers(session, job_of, tmp_path):
    reader = SyntheticReader(num_train=300, num_validation=0, num_test=20, image_dim=5, text_dim=4)
    corpus = ingest(reader.read(), str(tmp_path / "odd"), row_group_rows=64)
    trainer = TorchTrainer(
        visit,
        train_loop_config={"job": job_of("visit", corpus=corpus), "folder": str(tmp_path)},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
        torch_config=TorchConfig(backend="gloo"),
        run_config=RunConfig(name="visit", storage_path=str(tmp_path / "train")),
        datasets={SHARD: descriptor_dataset(len(corpus.descriptors("train")), 2)},
    )
    trainer.fit()
    expected = sorted(corpus.pair_ids("train").tolist())
    assert len(corpus.descriptors("train")) % 2 == 1, "an odd number of descriptors is what Train's equal split would cut"
    for name in ("resident", "streamed"):
        for epoch in (0, 1):
            seen = [json.loads((tmp_path / f"{name}-{epoch}-{rank}.json").read_text()) for rank in (0, 1)]
            assert all(seen), "both workers have rows"
            assert sorted(seen[0] + seen[1]) == expected


@pytest.mark.ray
def test_a_streamed_fit_learns_as_well(session, job_of):
    job = job_of("streamed", streamed=True)
    train_round(job, LOCAL)
    assert json.loads(Path(job.place.training).read_text())["streamed"] is True
    assert torch.isfinite(weights_of(job)).all()


def test_streaming_begins_where_a_share_is_beyond_its_memory(tiny_corpus):
    assert 600 * 4 * (24 + 16) < 1_000_000
    assert not needs_streaming(tiny_corpus, LOCAL, resident_mb=1)
    assert needs_streaming(tiny_corpus, LOCAL, resident_mb=0)


def die_once(job):
    marker = Path(job.place.path, "died")
    kept = FileCheckpoints.save

    def save(self, state):
        kept(self, state)
        if not marker.exists():
            marker.write_text("")
            os._exit(1)

    FileCheckpoints.save = save
    fit_in_worker(job)


@pytest.mark.ray
def test_a_worker_that_dies_is_restarted_from_its_checkpoint_and_ends_as_if_nothing_happened(session, job_of, monkeypatch):
    whole, broken = job_of("whole"), job_of("broken", max_failures=1)
    train_round(whole, LOCAL)
    monkeypatch.setattr("xmr_ray.cluster.train.fit_in_worker", die_once)
    train_round(broken, Placement(count=1, cpus=0.5, gpus=0.0, threads=1))
    assert Path(broken.place.path, "died").exists()
    assert (weights_of(whole) - weights_of(broken)).abs().max().item() == 0


@pytest.mark.ray
def test_an_error_of_our_own_in_a_worker_is_raised_as_itself(session, job_of):
    job = job_of("wrong", bought=LabelSet.of([10**12], [[0]]))
    for placement in (LOCAL, Placement(count=1, cpus=0.5, gpus=0.0, threads=1)):
        with pytest.raises(LedgerError, match=str(10**12)):
            train_round(job, placement)


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path):
    checkpoints = FileCheckpoints(str(tmp_path), Ranks.single())
    assert checkpoints.latest() is None
    (tmp_path / "fit" / "state").mkdir(parents=True)
    (tmp_path / "fit" / "state" / "state.pt").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"state\.pt: cannot be loaded"):
        checkpoints.latest()


@pytest.mark.slow
def test_the_seed_of_a_fit_is_all_its_randomness(job_of):
    first, second, other = job_of("first"), job_of("second"), job_of("other", seed=4)
    before = torch.random.get_rng_state()
    for job in (first, second, other):
        train_round(job, LOCAL)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(weights_of(first), weights_of(second))
    assert not torch.equal(weights_of(first), weights_of(other))
