import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xmr_ray.cluster.place import Placement
from xmr_ray.cluster.score import ScoringActor, ScoringJob, score_split, unwrap
from xmr_ray.errors import CheckpointError, CorpusError, XmrError
from xmr_ray.scoring.outputs import KINDS, file_of, is_current, read_scores
from xmr_ray.types import TrainedNetworks


@pytest.fixture
def job(tiny_corpus, raw_networks, tmp_path):
    return ScoringJob(tiny_corpus.path, "train", raw_networks, str(tmp_path / "out"), 64, "f16", 1, use_gpu=False)


def test_an_actor_scores_its_descriptors_and_scoring_twice_is_harmless(job, tiny_corpus):
    actor = ScoringActor(job)
    done = actor({"index": np.array([4, 1])})
    descriptors = tiny_corpus.descriptors("train")
    assert done["index"].tolist() == [4, 1]
    assert done["rows"].tolist() == [descriptors[4].num_rows, descriptors[1].num_rows]
    first = read_scores(job.output, descriptors[4], ("entropy",))
    assert first.pair_ids_B.tolist() == tiny_corpus.read(descriptors[4]).pair_ids_B.tolist()
    ScoringActor(job)({"index": np.array([4])})
    np.testing.assert_array_equal(read_scores(job.output, descriptors[4], ("entropy",)).columns["entropy"], first.columns["entropy"])


def test_networks_that_cannot_be_loaded_are_named(job, tmp_path):
    path = tmp_path / "networks.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"networks\.pt"):
        ScoringActor(dataclasses.replace(job, networks=TrainedNetworks(str(path), "x")))


def test_our_own_error_is_found_below_what_wraps_it():
    inner, outer, plain = CorpusError("row 3"), ValueError("wrapped"), ValueError("other")
    outer.__cause__ = inner
    assert unwrap(outer) is inner
    assert unwrap(plain) is plain


@pytest.mark.ray
def test_ray_data_streams_every_descriptor_once_and_redoes_only_what_is_missing(session, job, tiny_corpus):
    descriptors = tiny_corpus.descriptors("train")
    placement = Placement(count=2, cpus=0.5, gpus=0.0, threads=1)
    assert score_split(job, descriptors, placement) == tiny_corpus.num_pairs("train")
    assert all(is_current(job.output, "scores", descriptor, version=job.networks.digest) for descriptor in descriptors)
    assert score_split(job, descriptors, placement) == 0
    Path(file_of(job.output, KINDS[0], descriptors[2])).unlink()
    assert score_split(job, descriptors, placement) == descriptors[2].num_rows


@pytest.mark.ray
def test_a_flipped_byte_in_a_feature_page_stops_the_pass_and_names_the_file(session, tiny_corpus, raw_networks, tmp_path):
    shutil.copytree(tiny_corpus.path, tmp_path / "corpus")
    descriptor = tiny_corpus.descriptors("train")[0]
    shard = tmp_path / "corpus" / descriptor.file
    data = bytearray(shard.read_bytes())
    data[2000] ^= 0xFF
    shard.write_bytes(data)
    job = ScoringJob(str(tmp_path / "corpus"), "train", raw_networks, str(tmp_path / "out"), 64, "f16", 1, use_gpu=False)
    with pytest.raises(XmrError, match=shard.name):
        score_split(job, tiny_corpus.descriptors("train")[:2], Placement(1, 0.5, 0.0, 1))


@pytest.mark.slow
def test_a_worker_that_scores_imports_nothing_that_it_has_no_use_for():
    code = "import sys, xmr_ray.cluster.score; print(sorted({'sklearn', 'matplotlib', 'h5py', 'optuna'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
