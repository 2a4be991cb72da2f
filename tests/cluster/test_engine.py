"""What the engine decides itself; what it performs is tested beside the parts and in `test_runner.py`."""

import pytest

from xmr_ray import storage
from xmr_ray.cluster.engine import RayEngine
from xmr_ray.cluster.session import Session
from xmr_ray.config import validate
from xmr_ray.errors import CheckpointError, ResourceError
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.types import TrainedNetworks


def engine_of(corpus, path, *, session, **content):
    return RayEngine(session, corpus, validate(content, where="test"), RunDirectory(str(path)))


OWN = Session(own=True, cpus=8, gpus=0, node_ids=("a",))
FOREIGN = Session(own=False, cpus=8, gpus=0, node_ids=("a",))


def test_what_auto_chose_is_written_down_and_kept_on_another_machine(tiny_corpus, tmp_path):
    assert engine_of(tiny_corpus, tmp_path, session=OWN)._training_placement().count == 0
    assert engine_of(tiny_corpus, tmp_path, session=FOREIGN)._training_placement().count == 0
    assert engine_of(tiny_corpus, tmp_path / "other", session=FOREIGN)._training_placement().count == 1


def test_a_number_of_workers_that_was_asked_for_is_taken_and_leaves_no_choice(tiny_corpus, tmp_path):
    engine = engine_of(tiny_corpus, tmp_path, session=OWN, training={"num_workers": 3})
    assert engine._training_placement().count == 3
    assert not (tmp_path / "choices.json").exists()


def test_a_kept_choice_that_does_not_fit_this_machine_is_refused(tiny_corpus, tmp_path):
    RunDirectory(str(tmp_path)).choice("training.num_workers", 40)
    with pytest.raises(ResourceError, match="40 Train workers"):
        engine_of(tiny_corpus, tmp_path, session=OWN)._training_placement()


def test_networks_that_cannot_be_read_are_told_before_any_actor_starts(tiny_corpus, tmp_path):
    engine = engine_of(tiny_corpus, tmp_path, session=OWN)
    with pytest.raises(CheckpointError, match="nowhere"):
        engine.score_pool(engine.directory.round(0), TrainedNetworks(str(tmp_path / "nowhere.pt"), "x"))
    assert engine.num_passes == 0


def test_a_warm_start_has_the_round_before_unless_that_had_nothing_to_learn_from(tiny_corpus, tmp_path):
    engine = engine_of(tiny_corpus, tmp_path, session=OWN)
    first, second = engine.directory.round(0), engine.directory.round(1)
    assert (engine._previous(first), engine._previous(second)) == (None, None)
    storage.write_whole(first.networks, b"weights")
    assert (engine._previous(first), engine._previous(second)) == (None, first.networks)
