import numpy as np
import pytest
import torch

from xmr_ray.losses import CrossEntropy, MaskedBce
from xmr_ray.networks import NetworkDims
from xmr_ray.training import label_predictor
from xmr_ray.training.bought import gather_pairs
from xmr_ray.training.calibration import log_loss
from xmr_ray.training.label_predictor import FitContext, Labelled, class_weights, endless, fit_label_predictor, label_loss
from xmr_ray.training.ranks import Ranks


@pytest.fixture(params=["multi", "single"])
def corpus(request, tiny_corpus, tiny_single):
    return tiny_corpus if request.param == "multi" else tiny_single


@pytest.fixture
def stage(corpus, buy, quick):
    """Labelled rows of a split, settings, context."""
    schema = corpus.schema
    dims = NetworkDims(image_dim=24, text_dim=16, num_classes=5, multi_label=schema.multi_label)
    context = FitContext(dims, corpus.statistics(), Ranks.single(), torch.device("cpu"), "f32", 3, 1)

    def labelled(num, split="train"):
        labels = buy(corpus, num, split=split)
        rows = gather_pairs(corpus, labels.pair_ids_L, split=split, ranks=Ranks.single(), seed=0)
        return Labelled(rows, torch.from_numpy(labels.dense(rows.pair_ids_N, num_classes=5)))

    return labelled, context, lambda **changes: quick(label_predictor=changes).label_predictor


def loss_of(network, labelled, context):
    with torch.inference_mode():
        found = network.eval().probabilities(labelled.rows.image_NI, labelled.rows.text_NT)
    return log_loss(found, labelled.labels_LC, multi_label=context.dims.multi_label)


def test_it_learns_what_the_prior_does_not_know(stage):
    labelled, context, settings = stage
    bought, test = labelled(150), labelled(160, "test")
    fit = fit_label_predictor(settings(), bought, context, validation=None, on_check=lambda numbers: None)
    prior = bought.labels_LC.mean(dim=0, keepdim=True).expand_as(test.labels_LC)
    assert loss_of(fit.network, test, context) < 0.85 * log_loss(prior, test.labels_LC, multi_label=context.dims.multi_label)


def test_cross_fitting_holds_every_label_out_once(stage):
    labelled, context, settings = stage
    bought = labelled(41)
    parts = label_predictor._folds(settings(folds=4), bought, context)
    held = np.concatenate([held_out.rows.pair_ids_N for _, held_out in parts])
    assert sorted(held) == bought.rows.pair_ids_N.tolist()
    for rest, held_out in parts:
        assert set(rest.rows.pair_ids_N).isdisjoint(held_out.rows.pair_ids_N)
        assert len(rest) + len(held_out) == 41
        where = np.searchsorted(bought.rows.pair_ids_N, held_out.rows.pair_ids_N)
        assert torch.equal(held_out.labels_LC, bought.labels_LC[where])


def test_what_is_chosen_has_the_lowest_held_out_loss(stage):
    labelled, context, settings = stage
    told = []
    fit = fit_label_predictor(settings(patience=None), labelled(60), context, validation=None, on_check=told.append)
    best = min(told, key=lambda numbers: numbers["held_out_log_loss"])
    assert [numbers["step"] for numbers in told] == [10, 20, 30]
    assert fit.steps == best["step"]
    assert fit.calibration.log_loss == pytest.approx(best["held_out_log_loss"])
    assert torch.equal(fit.network.temperature_3, fit.calibration.temperature_3)
    assert fit.network.fusion_weight.item() == pytest.approx(fit.calibration.fusion_weight)
    assert log_loss(fit.held_out_BC, fit.held_out_labels_BC, multi_label=context.dims.multi_label) == pytest.approx(
        best["held_out_log_loss"], abs=1e-5
    )


def test_patience_ends_a_fit_that_gets_worse(stage):
    labelled, context, settings = stage
    told = []
    harmful = settings(steps=400, checks=20, patience=2, learning_rate=0.05, temperature=False)
    fit = fit_label_predictor(harmful, labelled(20), context, validation=labelled(80, "validation"), on_check=told.append)
    assert fit.steps < 400
    assert len(told) < 20
    losses = [numbers["held_out_log_loss"] for numbers in told]
    assert len(losses) - 1 - losses.index(min(losses)) == 2


def test_a_validation_split_replaces_the_folds(stage, monkeypatch):
    labelled, context, settings = stage
    monkeypatch.setattr(label_predictor, "_folds", lambda *arguments: pytest.fail("no folds are needed"))
    validation = labelled(40, "validation")
    fit = fit_label_predictor(settings(), labelled(30), context, validation=validation, on_check=lambda numbers: None)
    assert torch.equal(fit.held_out_labels_BC, validation.labels_LC)


@pytest.mark.parametrize("num", [1, 2, 7])
def test_with_a_handful_of_labels_nothing_is_held_out(stage, num):
    labelled, context, settings = stage
    fit = fit_label_predictor(settings(), labelled(num), context, validation=None, on_check=lambda numbers: pytest.fail("no check"))
    assert fit.steps == 30
    assert fit.calibration is None
    assert fit.network.temperature_3.tolist() == [1, 1, 1]


def test_the_same_key_gives_the_same_weights_and_another_round_others(stage):
    labelled, context, settings = stage
    bought, before = labelled(30), torch.get_rng_state()

    def weights(round_index):
        place = FitContext(context.dims, context.statistics, context.ranks, context.device, "f32", 3, round_index)
        return fit_label_predictor(settings(), bought, place, validation=None, on_check=lambda numbers: None).network.joint_branch[1].weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(before, torch.get_rng_state())


def test_auto_takes_the_loss_of_the_kind_of_labels():
    assert label_loss("auto", multi_label=True) == MaskedBce()
    assert label_loss("auto", multi_label=False) == CrossEntropy()
    assert label_loss(MaskedBce(), multi_label=False) == MaskedBce()


def test_class_weights_are_negatives_per_positive_within_limits():
    labels = torch.tensor([[1.0, 0, 1, 1]] * 2 + [[0.0, 0, 1, 1]] * 6 + [[0.0, 1, 0, 1]])
    assert class_weights(labels, 1.0) is None
    torch.testing.assert_close(class_weights(labels, 5.0), torch.tensor([3.5, 5.0, 1.0, 1.0]))


def test_endless_goes_on_with_the_next_epoch(stage):
    labelled, _, _ = stage
    rows = labelled(10).rows
    batches = endless(rows, 6)
    first, second = ([next(batches).pair_ids_B.tolist() for _ in range(2)] for _ in range(2))
    assert sorted(first[0] + first[1]) == sorted(second[0] + second[1]) == rows.pair_ids_N.tolist()
    assert first != second
