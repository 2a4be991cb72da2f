import numpy as np
import pytest
import torch
from pydantic import ValidationError

from xmr_ray import networks
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import CheckpointError, ConfigError, LedgerError, ResourceError, TrainingError
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.retrieval import evaluate
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.round import TrainingConfig, fit_round
from xmr_ray.training.rows import ResidentRows, StreamedRows
from xmr_ray.types import EMPTY_LABELS

pytestmark = pytest.mark.slow  # whole rounds are trained
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
    assert many > few + 0.08


def test_predicted_labels_can_be_left_out(tiny_corpus, fit, weights):
    predicted, alone = fit(tiny_corpus), fit(tiny_corpus, changes={"use_predicted": False})
    assert torch.equal(predicted.networks.label_predictor.text_branch[1].weight, alone.networks.label_predictor.text_branch[1].weight)
    assert not torch.equal(weights(predicted.networks), weights(alone.networks))
    assert predicted.summary["epochs"] == -(-40 * 64 // 600)
    assert alone.summary["epochs"] == -(-40 * 64 // 60)


def test_distilling_fits_the_common_space_twice_where_a_label_is_predicted(tiny_corpus, fit, weights):
    twice, once = fit(tiny_corpus, changes={"targets": {"distil": True}}), fit(tiny_corpus)
    assert not torch.equal(weights(twice.networks), weights(once.networks))
    assert twice.summary["teacher_epochs"] == twice.summary["epochs"] == once.summary["epochs"]
    assert [numbers.get("teacher", 0.0) for numbers in twice.history if numbers["stage"] == 2] == [1.0] * 5 + [0.0] * 5
    for changes, num in (({"use_predicted": False, "targets": {"distil": True}}, 60), ({"targets": {"distil": True}}, 600), ({}, 60)):
        assert "teacher_epochs" not in fit(tiny_corpus, num=num, changes=changes).summary


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


@pytest.mark.parametrize("die_after", [1, 2, 4, 6, 8])  # after stage 1, in the first fit of stage 2, after it, in the second
@pytest.mark.parametrize("validation", ["cross_fit", "split"])
def test_an_interrupted_fit_ends_with_the_same_weights(tiny_corpus, fit, weights, buy, tmp_path, die_after, validation):
    arguments = {
        "changes": {"checkpoint_every": 1, "validation": validation, "targets": {"distil": True}},
        "validation": buy(tiny_corpus, 80, split="validation"),
    }
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
    found = fit(tiny_corpus, changes={"validation": "split", "targets": {"distil": True}}, validation=validation)
    figures, teacher = (
        [n["validation_map"] for n in found.history if "validation_map" in n and ("teacher" in n) is which] for which in (False, True)
    )
    assert min(len(figures), len(teacher)) >= 3
    assert retrieval(found.networks, tiny_corpus, "validation") == pytest.approx(max(figures), abs=1e-6)


@pytest.mark.parametrize("num", [1, 3, 9])
def test_a_handful_of_labels_is_enough_to_go_on(tiny_corpus, fit, weights, num):
    assert torch.isfinite(weights(fit(tiny_corpus, num=num).networks)).all()


@pytest.mark.parametrize("kind", ["hard", "confident", "dual", "class_prior"])
def test_every_kind_of_target_trains(tiny_corpus, fit, weights, kind):
    soft, other = fit(tiny_corpus), fit(tiny_corpus, changes={"targets": {"kind": kind}})
    assert torch.isfinite(weights(other.networks)).all()
    assert not torch.equal(weights(soft.networks), weights(other.networks))


def test_the_open_set_needs_held_out_pairs_and_says_so(tiny_corpus, fit, weights):
    plain, watched = fit(tiny_corpus), fit(tiny_corpus, changes={"targets": {"open_set": True, "open_set_quantile": 0.5}})
    assert "open_set" not in plain.summary
    assert watched.summary["open_set"] is True
    assert 0 < watched.summary["open_set_entropy"] < 1
    assert not torch.equal(weights(plain.networks), weights(watched.networks))
    plain, few = fit(tiny_corpus, num=7), fit(tiny_corpus, num=7, changes={"targets": {"open_set": True}})
    assert few.summary["open_set"] is False
    assert "open_set_entropy" not in few.summary
    assert torch.equal(weights(plain.networks), weights(few.networks))


def test_beyond_the_lowest_quantile_only_the_pairing_loss_sees_a_pair(tiny_corpus, fit, weights):
    """With nearly nothing trusted, losses of labels see bought pairs only, so predictions of other targets change nothing."""
    changes = [{"targets": {"open_set": True, "open_set_quantile": 1e-9, "kind": kind}} for kind in ("soft", "hard")]
    one, other = (fit(tiny_corpus, changes=change) for change in changes)
    assert one.summary["open_set_entropy"] > 0
    trusting = [fit(tiny_corpus, changes={"targets": {"kind": kind}}) for kind in ("soft", "hard")]
    apart = [(weights(a.networks) - weights(b.networks)).abs().max() for a, b in ((one, other), trusting)]
    assert apart[0] < 0.2 * apart[1]


def test_a_warm_start_goes_on_from_the_round_before(tiny_corpus, fit, weights):
    before = fit(tiny_corpus)
    still = {"label_predictor": {"learning_rate": 1e-9}, "common_space": {"learning_rate": 1e-9}}
    arguments = {"num": 80, "round_index": 1, "previous": before.networks}
    cold, warm = (fit(tiny_corpus, changes={**still, "warm_start": on}, **arguments).networks for on in (False, True))
    plain = fit(tiny_corpus, changes=still, num=80, round_index=1).networks
    assert torch.equal(weights(cold), weights(plain))
    for found, wanted in ((warm.label_predictor, before.networks.label_predictor), (warm.common_space, before.networks.common_space)):
        for (name, value), expected in zip(found.named_parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(value, expected, atol=1e-6, rtol=0, msg=name)
    first = fit(tiny_corpus, changes={"warm_start": True})
    assert torch.equal(weights(first.networks), weights(before.networks))


def test_previous_networks_that_do_not_fit_are_refused(tiny_corpus, fit):
    before = fit(tiny_corpus, changes={"common_space": {"network": {"common": 9}}}).networks
    with pytest.raises(CheckpointError, match=r"(?s)do not fit.*training\.warm_start"):
        fit(tiny_corpus, changes={"warm_start": True}, previous=before)


EVERY_OPTION = {
    "label_predictor": {"loss": {"kind": "mse"}, "center_weight": 0.01, "unlabelled": {"kind": "mean_teacher", "decay": 0.9}},
    "common_space": {"loss": {"kind": "row_norm"}, "network": {"adversarial_weight": 0.1}},
    "targets": {"open_set": True},
    "warm_start": True,
}


@pytest.mark.parametrize("kind", ["tiny_corpus", "tiny_single"])
def test_an_interrupted_fit_with_every_option_ends_with_the_same_weights(request, fit, weights, kind):
    corpus = request.getfixturevalue(kind)
    arguments = {"changes": {**EVERY_OPTION, "checkpoint_every": 1}}
    arguments["previous"] = fit(corpus, num=20, changes=EVERY_OPTION).networks
    whole, checkpoints = fit(corpus, **arguments), Memory(2)
    with pytest.raises(KeyboardInterrupt):
        fit(corpus, checkpoints=checkpoints, **arguments)
    checkpoints.die_after = None
    resumed = fit(corpus, checkpoints=checkpoints, **arguments)
    assert torch.equal(weights(resumed.networks), weights(whole.networks))
    assert resumed.summary == whole.summary
    assert resumed.summary["open_set"]


def test_networks_of_every_option_are_saved_and_loaded(tiny_corpus, fit, weights, tmp_path):
    found = fit(tiny_corpus, changes=EVERY_OPTION).networks
    found.save(str(tmp_path / "networks.pt"))
    assert torch.equal(weights(RoundNetworks.load(str(tmp_path / "networks.pt"))), weights(found))


HEADS = {"steps": 10, "sample": 128, "batch_size": 64, "network": {"hidden": 16}}


def test_heads_are_fitted_when_asked_for_and_change_neither_stage(tiny_corpus, fit, weights):
    plain, told = fit(tiny_corpus, changes={"heads": HEADS}), []
    found = fit(tiny_corpus, changes={"heads": HEADS}, heads=True, on_epoch=told.append)
    assert plain.networks.heads is None
    assert torch.equal(weights(plain.networks), weights(found.networks))
    assert not found.networks.heads.training
    assert found.networks.heads.embedding_dim == 8
    assert {numbers["stage"] for numbers in told} == {1, 2, 3}
    assert set(found.summary) - set(plain.summary) == {"heads_slope", "heads_offset"}
    assert found.summary["heads_slope"] == pytest.approx(found.networks.heads.slope.item())


@pytest.mark.parametrize("die_after", [1, 3])
def test_an_interrupted_fit_ends_with_the_same_heads(tiny_corpus, fit, die_after):
    arguments = {"changes": {"checkpoint_every": 1, "heads": HEADS}, "heads": True}
    whole, checkpoints = fit(tiny_corpus, **arguments), Memory(die_after)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_corpus, checkpoints=checkpoints, **arguments)
    checkpoints.die_after = None
    resumed = fit(tiny_corpus, checkpoints=checkpoints, **arguments)
    expected = whole.networks.heads.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.networks.heads.state_dict().items())
    assert resumed.summary == whole.summary


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
@pytest.mark.parametrize("unlabelled", [{"kind": "pseudo", "confident_from": 0.7}, {"kind": "entropy"}, {"kind": "mean_teacher", "decay": 0.9}])
def test_two_processes_with_every_option_end_with_the_weights_of_one(tiny_corpus, quick, buy, two_processes, unlabelled):
    network = {"hidden": 16, **NO_DROPOUT}
    predictor = {"network": network, "learning_rate": 1e-3, "steps": 12, "folds": 2, "center_weight": 0.01, "unlabelled": unlabelled}
    space = {"network": {**network, "common": 8, "embedding_gradient": 1.0, "adversarial_weight": 0.1}, "loss": {"kind": "row_norm"}, "steps": 20}
    config = quick(label_predictor=predictor, common_space={**space, "learning_rate": 1e-3}, targets={"open_set": True})
    arguments = (tiny_corpus.path, config, buy(tiny_corpus, 61), False)
    one, summary = fit_of_this_rank(*arguments)
    for weights, found in two_processes(fit_of_this_rank, *arguments):
        assert (weights - one).abs().max() < 1e-4
        assert found["open_set_entropy"] == pytest.approx(summary["open_set_entropy"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("unlabelled", [False, True])
def test_two_processes_with_uneven_streams_agree(tiny_corpus, quick, buy, two_processes, unlabelled):
    """One rank has three row groups of ten: it brings padding while the other goes on."""
    predictor = {"steps": 25, "folds": 2, "unlabelled": {"kind": "pseudo"}} if unlabelled else {"steps": 12, "folds": 2}
    config = quick(label_predictor=predictor, common_space={"steps": 20})
    (one, summary), (other, _) = two_processes(fit_of_this_rank, tiny_corpus.path, config, buy(tiny_corpus, 61), True)
    assert torch.equal(one, other)
    assert torch.isfinite(one).all()
    assert summary["epochs"] == -(-20 * 64 // 600)


@pytest.mark.parametrize(("stage", "told"), [("label_predictor", "stage 1: weights .* are not finite"), ("common_space", "the loss is not finite")])
def test_a_fit_whose_loss_is_no_number_stops_with_the_reason_and_saves_nothing_of_it(tiny_corpus, fit, monkeypatch, stage, told):
    from xmr_ray.training import stepper

    step, memory, steps = stepper.Stepper.step, Memory(), [0]

    def spoiled(self, loss, progress):
        steps[0] += 1
        begun = bool(memory.states) if stage == "common_space" else steps[0] > 3
        step(self, loss * float("nan") if begun else loss, progress)

    def mean(terms, ranks):
        found = stepper_mean(terms, ranks)
        return found * float("nan") if stage == "common_space" and memory.states else found

    stepper_mean = stepper.mean_over_ranks
    monkeypatch.setattr(stepper.Stepper, "step", spoiled)
    monkeypatch.setattr("xmr_ray.training.common_space.mean_over_ranks", mean)
    with pytest.raises(TrainingError, match=told):
        fit(tiny_corpus, checkpoints=memory)
    assert len(memory.states) == (0 if stage == "label_predictor" else 1), "the state of stage 1 is sound where only stage 2 went wrong"


@pytest.mark.parametrize("stage", ["label_predictor", "common_space"])
def test_a_batch_that_does_not_fit_ends_the_fit_with_advice_and_no_smaller_batch_is_taken(tiny_corpus, fit, monkeypatch, stage):
    def full(self, *rows):
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    monkeypatch.setattr(getattr(networks, {"label_predictor": "LabelPredictor", "common_space": "CommonSpace"}[stage]), "forward", full)
    with pytest.raises(ResourceError, match=r"a batch does not fit the memory of cpu \(tried .*lower training.label_predictor.batch_size"):
        fit(tiny_corpus)
