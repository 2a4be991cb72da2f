import numpy as np
import pytest
import torch
from pydantic import ValidationError

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import CheckpointError, ConfigError, LedgerError
from xmr_ray.retrieval import evaluate
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.round import TrainingConfig, fit_round
from xmr_ray.training.rows import ResidentRows, StreamedRows
from xmr_ray.types import EMPTY_LABELS

NO_DROPOUT = {"dropout": 0.0, "input_dropout": 0.0}


class Memory:
    """Checkpoints in memory; stops the fit after `die_after` of them."""

    def __init__(self, die_after=None):
        self.states, self.die_after = [], die_after

    def latest(self):
        return self.states[-1] if self.states else None

    def save(self, state):
        self.states.append(state)
        if len(self.states) == self.die_after:
            raise KeyboardInterrupt


def retrieval(networks, corpus, split="test"):
    batches = [corpus.read(descriptor) for descriptor in corpus.descriptors(split)]
    ids = np.concatenate([batch.pair_ids_B for batch in batches])
    image, text = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*((batch.images(), batch.texts()) for batch in batches), strict=True))
    with torch.inference_mode():
        _, _, image_NC, text_NC = networks.common_space.embed(image, text)
    labels = open_truth(corpus, split).dense(ids, num_classes=corpus.schema.num_classes)
    return evaluate(image_NC.numpy(), text_NC.numpy(), pair_ids=ids, labels_NC=labels).map_mean


@pytest.mark.parametrize("kind", ["tiny_corpus", "tiny_single"])
def test_labels_are_worth_something(request, fit, kind):
    corpus = request.getfixturevalue(kind)
    few, many = (retrieval(fit(corpus, num=num).networks, corpus) for num in (1, 300))
    assert many > few + 0.1


def test_predicted_labels_can_be_left_out(tiny_corpus, fit, weights):
    predicted, alone = fit(tiny_corpus), fit(tiny_corpus, changes={"use_predicted": False})
    assert torch.equal(predicted.networks.label_predictor.text_branch[1].weight, alone.networks.label_predictor.text_branch[1].weight)
    assert not torch.equal(weights(predicted.networks), weights(alone.networks))
    assert predicted.summary["epochs"] == -(-40 * 64 // 600)
    assert alone.summary["epochs"] == -(-40 * 64 // 60)


def test_summary_and_history_tell_what_was_chosen(tiny_corpus, fit):
    told = []
    found = fit(tiny_corpus, on_epoch=told.append)
    assert list(found.history) == told
    assert {numbers["stage"] for numbers in told} == {1, 2}
    assert found.summary["num_bought"] == 60
    assert found.summary["precision"] == "f32"
    assert found.summary["label_predictor_steps"] in {10, 20, 30}
    assert found.networks.label_predictor.fusion_weight.item() == pytest.approx(found.summary["fusion_weight"])


def test_same_arguments_same_weights_and_no_random_state_is_left(tiny_corpus, fit, weights):
    before = torch.get_rng_state()
    one, two, other = fit(tiny_corpus), fit(tiny_corpus), fit(tiny_corpus, seed=1)
    assert torch.equal(weights(one.networks), weights(two.networks))
    assert not torch.equal(weights(one.networks), weights(other.networks))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("die_after", [1, 2, 4])
@pytest.mark.parametrize("validation", ["cross_fit", "split"])
def test_an_interrupted_fit_ends_with_the_same_weights(tiny_corpus, fit, weights, buy, tmp_path, die_after, validation):
    arguments = {"changes": {"checkpoint_every": 1, "validation": validation}, "validation": buy(tiny_corpus, 80, split="validation")}
    whole = fit(tiny_corpus, **arguments)
    checkpoints = Memory(die_after)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_corpus, checkpoints=checkpoints, **arguments)
    torch.save(checkpoints.states[-1], tmp_path / "state.pt")
    checkpoints.states[-1] = torch.load(tmp_path / "state.pt", weights_only=True)
    checkpoints.die_after = None
    resumed = fit(tiny_corpus, checkpoints=checkpoints, **arguments)
    assert torch.equal(weights(resumed.networks), weights(whole.networks))
    assert resumed.summary == whole.summary
    assert len(resumed.history) < len(whole.history)


def test_a_state_of_another_architecture_is_refused(tiny_corpus, fit):
    checkpoints = Memory()
    fit(tiny_corpus, checkpoints=checkpoints)
    checkpoints.states = checkpoints.states[:1]
    with pytest.raises(CheckpointError, match=r"(?s)does not fit its configuration.*remove it"):
        fit(tiny_corpus, checkpoints=checkpoints, changes={"label_predictor": {"network": {"hidden": 17}}})


def test_streamed_rows_learn_as_resident_ones_do(tiny_corpus, fit):
    streamed = StreamedRows(lambda epoch: iter(tiny_corpus.descriptors("train")), tiny_corpus.read, ranks=Ranks.single(), seed=0)
    one, other = fit(tiny_corpus, num=200), fit(tiny_corpus, num=200, rows=streamed)
    assert abs(retrieval(one.networks, tiny_corpus) - retrieval(other.networks, tiny_corpus)) < 0.05
    assert one.summary["epochs"] == other.summary["epochs"]


def test_a_validation_split_is_looked_at_in_both_stages(tiny_corpus, fit, buy):
    validation = buy(tiny_corpus, 80, split="validation")
    found = fit(tiny_corpus, changes={"validation": "split"}, validation=validation)
    figures = [numbers["validation_map"] for numbers in found.history if "validation_map" in numbers]
    assert len(figures) >= 3
    assert retrieval(found.networks, tiny_corpus, "validation") == pytest.approx(max(figures), abs=1e-6)


@pytest.mark.parametrize("num", [1, 3, 9])
def test_a_handful_of_labels_is_enough_to_go_on(tiny_corpus, fit, weights, num):
    assert torch.isfinite(weights(fit(tiny_corpus, num=num).networks)).all()


@pytest.mark.parametrize("kind", ["hard", "confident", "dual", "class_prior"])
def test_every_kind_of_target_trains(tiny_corpus, fit, weights, kind):
    soft, other = fit(tiny_corpus), fit(tiny_corpus, changes={"targets": {"kind": kind}})
    assert torch.isfinite(weights(other.networks)).all()
    assert not torch.equal(weights(soft.networks), weights(other.networks))


def test_nothing_bought_is_refused(tiny_corpus, fit):
    with pytest.raises(LedgerError, match=r"no labels were bought.*budget\.seed_pairs"):
        fit(tiny_corpus, bought=EMPTY_LABELS)


@pytest.mark.parametrize("validation", [None, EMPTY_LABELS])
def test_a_split_without_labels_is_refused(tiny_corpus, fit, validation):
    with pytest.raises(ConfigError, match=r"training\.validation.*use cross_fit"):
        fit(tiny_corpus, changes={"validation": "split"}, validation=validation)


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError, match="warmth"):
        TrainingConfig.model_validate({"common_space": {"warmth": 1}})


def fit_of_this_rank(path, config, labels, streamed):
    """One rank of a fit without dropout; runs in each of two processes and in the test's own."""
    corpus, ranks = PairedCorpus.open(path), Ranks.current()
    descriptors = corpus.descriptors("train")
    descriptors = descriptors[:3] if ranks.rank == 0 else descriptors[3:]
    resident = ResidentRows(corpus, ranks=ranks, seed=0)
    rows = StreamedRows(lambda epoch: iter(descriptors), corpus.read, ranks=ranks, seed=0) if streamed else resident
    found = fit_round(
        config, corpus=corpus, bought=labels, rows=rows, ranks=ranks, device=torch.device("cpu"), seed=0, round_index=0, checkpoints=Memory()
    )
    parts = [*found.networks.label_predictor.state_dict().values(), *found.networks.common_space.state_dict().values()]
    return torch.cat([part.double().flatten() for part in parts]), found.summary


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_two_processes_end_with_the_weights_of_one(tiny_corpus, quick, buy, two_processes):
    network = {"hidden": 16, **NO_DROPOUT}
    terms = ({"loss": {"kind": "pairwise"}, "weight": 0.1}, {"loss": {"kind": "pairing"}, "weight": 0.1}, {"loss": {"kind": "supcon"}, "weight": 0.1})
    space = {"network": {**network, "common": 8, "embedding_gradient": 1.0}, "space_losses": terms, "learning_rate": 1e-3, "steps": 20}
    config = quick(label_predictor={"network": network, "learning_rate": 1e-3, "steps": 12, "folds": 2}, common_space=space)
    arguments = (tiny_corpus.path, config, buy(tiny_corpus, 61), False)
    one, summary = fit_of_this_rank(*arguments)
    for weights, found in two_processes(fit_of_this_rank, *arguments):
        assert (weights - one).abs().max() < 1e-4
        assert found["label_predictor_steps"] == summary["label_predictor_steps"]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_two_processes_with_uneven_streams_agree(tiny_corpus, quick, buy, two_processes):
    """One rank has three row groups of ten: it brings padding while the other goes on."""
    config = quick(label_predictor={"steps": 12, "folds": 2}, common_space={"steps": 20})
    (one, summary), (other, _) = two_processes(fit_of_this_rank, tiny_corpus.path, config, buy(tiny_corpus, 61), True)
    assert torch.equal(one, other)
    assert torch.isfinite(one).all()
    assert summary["epochs"] == -(-20 * 64 // 600)
