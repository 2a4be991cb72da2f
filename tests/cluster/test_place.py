import pytest

from xmr_ray.cluster.place import place_scoring, place_training, place_trials, place_writers
from xmr_ray.cluster.session import Session
from xmr_ray.config import CorpusSettings, Resources, ScoringSettings, TrainingSettings, validate
from xmr_ray.errors import ResourceError


def session(cpus, gpus=0, *, own=True):
    return Session(own=own, cpus=cpus, gpus=gpus, node_ids=("a",))


@pytest.mark.parametrize(("cpus", "expected"), [(1, 1), (2, 2), (8, 8), (64, 64)])
def test_auto_takes_one_scoring_actor_per_cpu_and_leaves_half_a_cpu(cpus, expected):
    placed = place_scoring(session(cpus), ScoringSettings(), Resources(), num_pairs=10**6)
    assert placed.count == expected
    assert placed.count * placed.cpus <= cpus - 0.5
    assert placed.gpus == 0


def test_auto_starts_no_actor_that_is_not_worth_it():
    counts = [place_scoring(session(8), ScoringSettings(), Resources(), num_pairs=n).count for n in (1, 4096, 4097, 10**6)]
    assert counts == [1, 1, 2, 8]
    assert place_scoring(session(8), ScoringSettings(num_actors=3), Resources(), num_pairs=1).count == 3


def test_auto_takes_one_scoring_actor_per_gpu():
    placed = place_scoring(session(16, 2), ScoringSettings(), Resources(use_gpu=True), num_pairs=10**6)
    assert (placed.count, placed.gpus) == (2, 1.0)


def test_too_many_scoring_actors_are_refused():
    with pytest.raises(ResourceError, match="scoring actors"):
        place_scoring(session(2), ScoringSettings(num_actors=4), Resources(), num_pairs=10**6)


@pytest.mark.parametrize(
    ("found", "use_gpu", "expected"),
    [
        (session(2), False, 0),
        (session(2, own=False), False, 1),
        (session(8, 1), True, 0),
        (session(8, 4), True, 4),
        (session(8, 4, own=False), True, 4),
    ],
)
def test_auto_takes_local_mode_only_in_a_session_of_our_own_when_one_process_is_enough(found, use_gpu, expected):
    assert place_training(found, TrainingSettings(), Resources(use_gpu=use_gpu)).count == expected


def test_threads_are_those_of_the_configuration():
    assert place_training(session(8), TrainingSettings(), Resources()).threads == 1
    assert place_training(session(8), TrainingSettings(num_workers=4, threads_per_worker=3), Resources()).threads == 3


def test_workers_that_hold_every_cpu_are_refused():
    with pytest.raises(ResourceError, match="Train workers"):
        place_training(session(2), TrainingSettings(num_workers=2, cpus_per_worker=1.0), Resources())


def test_a_gpu_that_is_not_there_is_told_before_training():
    with pytest.raises(ResourceError, match="1 GPUs, but the cluster has 0"):
        place_training(session(8), TrainingSettings(), Resources(use_gpu=True))


def test_writers_are_as_many_as_cpus_parts_or_gpus_allow():
    settings = CorpusSettings()
    assert [place_writers(session(8), settings, num_parts=n, on_gpu=False).count for n in (1, 5, 100)] == [1, 5, 8]
    placed = place_writers(session(8, 2), settings, num_parts=100, on_gpu=True)
    assert (placed.count, placed.gpus) == (2, 1.0)
    assert place_writers(session(8, 2), settings, num_parts=100, on_gpu=False).gpus == 0
    with pytest.raises(ResourceError, match="corpus writers"):
        place_writers(session(8), settings, num_parts=100, on_gpu=True)


SPACE = {"strategy.kind": {"kind": "choice", "values": ["random", "entropy"]}}


def trials(cpus, gpus=0, *, use_gpu=False, scoring=None, training=None, **content):
    sections = {"scoring": scoring or {}, "training": training or {}, "resources": {"use_gpu": use_gpu}}
    experiment = validate({"tune": {"space": SPACE, "num_trials": 99, **content}, **sections}, where="t")
    return place_trials(session(cpus, gpus), experiment, experiment.tune)


@pytest.mark.parametrize(("cpus", "expected"), [(1.5, 1), (2, 2), (3, 3), (8, 8), (64, 64)])
def test_auto_takes_as_many_trials_as_fit_with_their_actors_and_no_more_than_cpus(cpus, expected):
    placed = trials(cpus)
    assert placed.count == expected
    # every trial may place one scoring actor in its share, and then the sum is still within the cluster
    assert place_scoring(session(placed.share), ScoringSettings(), Resources(), num_pairs=10**6).count >= 1
    inside = (placed.share - 0.5) * placed.count
    assert placed.count * placed.cpus + inside + 0.5 == pytest.approx(cpus)


def test_actors_that_are_configured_count_for_every_trial():
    assert trials(8, scoring={"num_actors": 2}).count == 6
    assert trials(8, scoring={"index_actors": 4}).count == 3
    assert trials(8, cpus_per_trial=3).count == 2


def test_the_largest_task_of_a_trial_finds_room():
    placed = trials(2, cpus_per_trial=0.5, scoring={"cpus_per_actor": 0.1, "cpus_per_index_actor": 0.1})
    assert 2 - placed.count * placed.cpus >= 1


def test_a_trial_trains_and_scores_on_gpus():
    assert trials(16, 4, use_gpu=True).count == 2
    assert trials(16, 4, use_gpu=True, scoring={"gpus_per_actor": 0.3}).count == 3
    with pytest.raises(ResourceError, match="2 GPUs, but the cluster has 16 CPUs and 1 GPUs"):
        trials(16, 1, use_gpu=True)


def test_more_trials_than_fit_are_refused_with_the_sum():
    with pytest.raises(
        ResourceError, match=r"3 trials x \(0.25 CPU \+ 0.5 CPU of their actors\) .* = 2.75 CPUs, .*set tune.max_concurrent to 2 or less"
    ):
        trials(2, max_concurrent=3)
    with pytest.raises(ResourceError, match=r"1 trials x .* = 1.25 CPUs, but the cluster has 1 CPUs"):
        trials(1)
    assert trials(2, max_concurrent=1).count == 1


def test_there_are_no_more_trials_at_once_than_trials():
    assert trials(64, num_trials=3).count == 3


def test_a_trial_with_several_train_workers_holds_next_to_nothing_and_its_workers_count():
    placed = trials(8, training={"num_workers": 3, "cpus_per_worker": 1})
    assert (placed.count, placed.cpus, placed.gpus) == (2, pytest.approx(0.02), 0.0)
    inside = place_training(session(placed.share), TrainingSettings(num_workers=3, cpus_per_worker=1), Resources())
    assert inside.count == 3, "the group fits into the share of its trial"
    assert trials(16, 4, use_gpu=True, training={"num_workers": 2}).count == 2, "workers and scoring actors take turns on the GPUs"
    with pytest.raises(ResourceError, match=r"1 trials x \(0.02 CPU \+ 4 CPU of their actors or Train workers\) .* = 4.52 CPUs"):
        trials(4, training={"num_workers": 4, "cpus_per_worker": 1})
    assert trials(8, training={"num_workers": 1}).cpus == trials(8).cpus, "one worker is the trial's own process"
