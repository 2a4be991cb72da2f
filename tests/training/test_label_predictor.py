import numpy as np
import pytest
import torch
from torch.nn import functional

from xmr_ray.errors import CheckpointError
from xmr_ray.losses import CrossEntropy, MaskedBce
from xmr_ray.networks import LabelPredictor, NetworkDims
from xmr_ray.networks.label_predictor import LabelLogits
from xmr_ray.training import label_predictor
from xmr_ray.training.bought import gather_pairs
from xmr_ray.training.calibration import log_loss
from xmr_ray.training.label_predictor import FitContext, Labelled, class_weights, fit_label_predictor, label_loss
from xmr_ray.training.randomness import seeded
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import ResidentRows, StreamedRows, endless
from xmr_ray.training.stepper import one_cycle

pytestmark = pytest.mark.slow  # networks are trained


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


QUIET = {"network": {"hidden": 16, "dropout": 0.0, "input_dropout": 0.0}, "steps": 8, "folds": 2, "batch_size": 32, "learning_rate": 0.05}
OPTIONS = {
    "center": {"center_weight": 0.1},
    "pseudo": {"unlabelled": {"kind": "pseudo", "confident_from": 0.6}},
    "entropy": {"unlabelled": {"kind": "entropy"}},
    "mean_teacher": {"unlabelled": {"kind": "mean_teacher", "decay": 0.8, "weight": 5.0}},
}


def plain_fit(settings, bought, rows, context, previous=None):
    """The final fit of stage 1 with three plain losses, two forward passes a step and torch's own optimiser."""

    def label_loss(head, targets, kept):
        if context.dims.multi_label:
            return (functional.binary_cross_entropy_with_logits(head, targets, reduction="none") * kept).sum() / len(head)
        return (functional.cross_entropy(head, targets, reduction="none") * kept).sum() / len(head)

    def activate(head):
        return head.sigmoid() if context.dims.multi_label else head.softmax(dim=1)

    def unlabelled_loss(kind, logits, fused, taught):
        if kind == "entropy":
            both = [(activate(head), 1 - activate(head)) for head in logits]
            terms = [p * p.log() + (q * q.log() if context.dims.multi_label else 0) for p, q in both]
            return -sum(term.sum() for term in terms) / len(fused)
        if kind == "mean_teacher":
            return sum((activate(head) - taught).square().sum() for head in logits) / len(fused)
        assert kind == "pseudo"
        hard, kept = (fused >= 0.5).float(), (torch.maximum(fused, 1 - fused) >= 0.6).float()
        if not context.dims.multi_label:
            hard, kept = functional.one_hot(fused.argmax(dim=1), 5).float(), (fused.max(dim=1).values >= 0.6).float()
        return sum(label_loss(head, hard, kept) for head in logits)

    with seeded(context.device, *context.key("label_predictor", "all")):
        network, teacher = (settings.network.build(context.dims) for _ in range(2))
    if previous is not None:
        network.load_state_dict(previous.state_dict())
    network.set_statistics(context.statistics)
    teacher.load_state_dict(network.state_dict())
    centres = torch.zeros(3, 5, 16, requires_grad=True)
    parameters = [*network.parameters(), *([centres] if settings.center_weight else [])]
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    labelled, others = endless(bought.rows, 32), endless(rows, 32)
    for step in range(settings.steps):
        batch = next(labelled)
        labels = bought.labels_LC[batch.positions_B]
        logits, hidden = network.with_hidden(batch.image_BI, batch.text_BT)
        loss = sum(label_loss(head, labels, torch.ones(())) for head in logits)
        if settings.center_weight:
            known = labels.sum(dim=1) > 0
            squares = [(units[:, None] - part[None]).square().sum(dim=2) for units, part in zip(hidden, centres, strict=True)]
            distance = sum(((part * labels).sum(dim=1) / labels.sum(dim=1).clamp(min=1))[known].sum() / 2 for part in squares)
            loss = loss + settings.center_weight * distance / known.sum()
        if settings.unlabelled != "none":
            batch = next(others)
            at = torch.from_numpy(np.flatnonzero(~np.isin(batch.pair_ids_B, bought.rows.pair_ids_N)))
            image, text = batch.image_BI[at], batch.text_BT[at]
            logits = network(image, text)
            with torch.no_grad():
                fused, taught = network.fuse(LabelLogits(*logits)), teacher.probabilities(image, text)
            rise = np.exp(-5 * max(0, 1 - step / settings.steps / 0.3) ** 2)
            loss = loss + settings.unlabelled.weight * rise * unlabelled_loss(settings.unlabelled.kind, logits, fused, taught)
        optimiser.param_groups[0]["lr"] = settings.learning_rate * one_cycle(step / settings.steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            decay = min(0.8, 1 - 1 / (step + 2))
            for slow, fast in zip(teacher.parameters(), network.parameters(), strict=True):
                slow.copy_(decay * slow + (1 - decay) * fast)
    return teacher if settings.unlabelled != "none" and settings.unlabelled.kind == "mean_teacher" else network


@pytest.fixture
def train_rows(corpus):
    return ResidentRows(corpus, ranks=Ranks.single(), seed=0)


@pytest.mark.parametrize("option", ["none", *OPTIONS])
def test_an_option_is_its_formula(stage, train_rows, option):
    labelled, context, settings = stage
    chosen, bought = settings(**QUIET, **OPTIONS.get(option, {})), labelled(7)
    fit = fit_label_predictor(chosen, bought, context, validation=None, on_check=lambda numbers: None, unlabelled=train_rows)
    expected = dict(plain_fit(chosen, bought, train_rows, context).named_parameters())
    for name, value in fit.network.named_parameters():
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=0)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_the_fit_and_the_network_stays_what_it_is(stage, train_rows, option):
    labelled, context, settings = stage
    bought = labelled(40)

    def network(**changes):
        fit = fit_label_predictor(settings(**QUIET | changes), bought, context, validation=None, on_check=lambda numbers: None, unlabelled=train_rows)
        assert fit.calibration is not None
        return fit.network

    plain, other = network(), network(**OPTIONS[option])
    assert type(other) is LabelPredictor
    assert other.state_dict().keys() == plain.state_dict().keys()
    assert not torch.equal(other.joint_branch[1].weight, plain.joint_branch[1].weight)
    assert not other.training


def test_without_an_option_unlabelled_rows_are_not_read(stage):
    labelled, context, settings = stage
    unread = StreamedRows(lambda epoch: pytest.fail("nobody asked for rows"), None, ranks=Ranks.single(), seed=0)
    fit = fit_label_predictor(settings(**QUIET), labelled(20), context, validation=None, on_check=lambda numbers: None, unlabelled=unread)
    assert fit.steps <= 8


def test_streamed_rows_will_do_and_each_pass_is_an_epoch(stage, corpus):
    labelled, context, settings = stage
    passes = []

    def epoch_descriptors(epoch):
        passes.append(epoch)
        return iter(corpus.descriptors("train"))

    rows = StreamedRows(epoch_descriptors, corpus.read, ranks=Ranks.single(), seed=0)
    chosen = settings(**QUIET | {"steps": 25}, **OPTIONS["pseudo"])
    fit_label_predictor(chosen, labelled(5), context, validation=None, on_check=lambda numbers: None, unlabelled=rows)
    assert passes == [0, 1]


def test_a_warm_fit_goes_on_from_the_weights_before_and_folds_start_cold(stage, train_rows):
    labelled, context, settings = stage
    chosen, bought = settings(**QUIET), labelled(40)
    before = fit_label_predictor(chosen, bought, context, validation=None, on_check=lambda numbers: None)
    told = {"cold": [], "warm": []}
    cold = fit_label_predictor(chosen, bought, context, validation=None, on_check=told["cold"].append)
    warm = fit_label_predictor(chosen, bought, context, validation=None, on_check=told["warm"].append, previous=before.network)
    assert told["cold"] == told["warm"]
    assert torch.equal(cold.held_out_BC, warm.held_out_BC)
    expected = dict(plain_fit(settings(**QUIET | {"steps": warm.steps}), bought, train_rows, context, before.network).named_parameters())
    assert warm.steps == 8
    for name, value in warm.network.named_parameters():
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=0)


def test_with_a_validation_split_what_is_checked_starts_warm_too(stage):
    labelled, context, settings = stage
    chosen, bought, validation = settings(**QUIET, checks=8), labelled(40), labelled(30, "validation")
    told = {"cold": [], "warm": []}
    before = fit_label_predictor(chosen, bought, context, validation=validation, on_check=told["cold"].append)
    fit_label_predictor(chosen, bought, context, validation=validation, on_check=told["warm"].append, previous=before.network)
    first = {name: numbers[0]["held_out_log_loss"] for name, numbers in told.items()}
    assert first["warm"] < 0.9 * first["cold"]


def test_previous_weights_that_do_not_fit_are_refused(stage):
    labelled, context, settings = stage
    before = fit_label_predictor(settings(**QUIET), labelled(7), context, validation=None, on_check=lambda numbers: None)
    wider = settings(**QUIET | {"network": {"hidden": 17}})
    with pytest.raises(CheckpointError, match=r"(?s)do not fit.*training\.warm_start"):
        fit_label_predictor(wider, labelled(7), context, validation=None, on_check=lambda numbers: None, previous=before.network)
