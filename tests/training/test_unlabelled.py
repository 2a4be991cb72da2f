import math
from itertools import islice

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from xmr_ray.losses import CrossEntropy, LabelRows, MaskedBce
from xmr_ray.networks import NetworkDims, TwoBranch
from xmr_ray.networks.label_predictor import LabelLogits
from xmr_ray.training.label_predictor import LabelPredictorSettings
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import HeldRows, RowBatch
from xmr_ray.training.unlabelled import Entropy, MeanTeacher, Pseudo, UnlabelledRows, UnlabelledTerm

pytestmark = pytest.mark.slow

WEIGHT = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0])


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def softmax(row):
    return np.exp(row) / np.exp(row).sum()


@pytest.fixture(params=[True, False], ids=["multi", "single"])
def rows(request):
    """Five rows of two heads with guiding probabilities."""
    rng = torch.Generator().manual_seed(0)
    heads = tuple(torch.randn(5, 3, generator=rng, dtype=torch.float64) * 2 for _ in range(2))
    guide = torch.randn(5, 3, generator=rng, dtype=torch.float64) * 2
    guide = guide.sigmoid() if request.param else guide.softmax(dim=1)
    return LabelRows(heads, guide, torch.ones_like(guide), WEIGHT.double(), multi_label=request.param)


@pytest.mark.parametrize("ramp_up", [0.0, 0.3, 1.0])
def test_the_weight_rises_and_then_stays(ramp_up):
    option = Pseudo(weight=3.0, ramp_up=ramp_up)
    found = [option.weight_at(progress / 10) for progress in range(11)]
    expected = [3.0 * math.exp(-5 * (1 - min(1.0, progress / 10 / ramp_up)) ** 2) if ramp_up else 3.0 for progress in range(11)]
    assert found == pytest.approx(expected)
    assert found[-1] == 3.0


def pseudo_by_hand(rows, confident_from):
    total = 0.0
    for b in range(5):
        p_C = rows.targets_BC[b].numpy()
        for head in rows.heads:
            z_C = head[b].numpy()
            if rows.multi_label:
                for p, z in zip(p_C, z_C, strict=True):
                    if max(p, 1 - p) >= confident_from:
                        total -= WEIGHT[b].item() * math.log(sigmoid(z) if p >= 0.5 else 1 - sigmoid(z))
            elif p_C.max() >= confident_from:
                total -= WEIGHT[b].item() * math.log(softmax(z_C)[p_C.argmax()])
    return total


@pytest.mark.parametrize("confident_from", [0.5, 0.6, 1.0])
def test_pseudo_labels_are_confident_predictions(rows, confident_from):
    loss = MaskedBce() if rows.multi_label else CrossEntropy()
    total, mass = Pseudo(confident_from=confident_from).sums(rows, loss)
    assert total.item() == pytest.approx(pseudo_by_hand(rows, confident_from), abs=1e-9)
    assert mass.item() == 4
    assert (total.item() > 0) == (confident_from < 1)


def test_entropy_and_distance_by_hand(rows):
    entropy, distance = 0.0, 0.0
    for b in range(5):
        for head in rows.heads:
            p_C = sigmoid(head[b].numpy()) if rows.multi_label else softmax(head[b].numpy())
            entropy -= WEIGHT[b].item() * (p_C * np.log(p_C) + (1 - p_C) * np.log(1 - p_C) * rows.multi_label).sum()
            distance += WEIGHT[b].item() * ((p_C - rows.targets_BC[b].numpy()) ** 2).sum()
    for option, expected in ((Entropy(), entropy), (MeanTeacher(), distance)):
        total, mass = option.sums(rows, MaskedBce())
        assert total.item() == pytest.approx(expected, abs=1e-9)
        assert mass.item() == 4


@pytest.mark.parametrize("option", [Pseudo(confident_from=0.7), Entropy(), MeanTeacher()])
def test_parts_of_a_batch_add_up(rows, option):
    def part(at):
        return option.sums(
            LabelRows(tuple(h[at] for h in rows.heads), rows.targets_BC[at], rows.trust_BC[at], rows.weight_B[at], None, rows.multi_label), loss
        )

    loss = MaskedBce() if rows.multi_label else CrossEntropy()
    first, second, whole = part(slice(0, 2)), part(slice(2, 5)), part(slice(0, 5))
    torch.testing.assert_close(first.total + second.total, whole.total)
    torch.testing.assert_close(first.mass + second.mass, whole.mass)


def test_bought_rows_have_no_weight():
    held = HeldRows(np.arange(10, 30), torch.zeros(20, 2), torch.zeros(20, 2), ranks=Ranks.single(), seed=0)
    bought = np.array([11, 15, 29])
    batches = list(islice(UnlabelledRows(held, bought).batches(8), 6))
    for epoch in (batches[:3], batches[3:]):
        ids, weights = np.concatenate([batch.pair_ids_B for batch in epoch]), torch.cat([batch.weight_B for batch in epoch])
        assert sorted(ids) == list(range(10, 30))
        assert sorted(ids[weights.numpy() == 0]) == bought.tolist()
        assert sorted(set(weights.tolist())) == [0, 1]


@pytest.fixture
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TwoBranch(hidden=5).build(NetworkDims(image_dim=4, text_dim=3, num_classes=2, multi_label=True))


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(3)
    return RowBatch(np.arange(6), torch.randn(6, 4, generator=rng), torch.randn(6, 3, generator=rng), torch.ones(6))


def term_of(network, option):
    rows = HeldRows(np.arange(4), torch.zeros(4, 4), torch.zeros(4, 3), ranks=Ranks.single(), seed=0)
    return UnlabelledTerm(option, UnlabelledRows(rows, np.empty(0, np.int64)), network, batch_size=2)


def test_the_teacher_is_the_moving_average_of_the_weights(network):
    term = term_of(network, MeanTeacher(decay=0.7))
    expected = {name: value.detach().clone() for name, value in network.named_parameters()}
    for step in range(1, 8):
        with torch.no_grad():
            for value in network.parameters():
                value.add_(step)
        term.follow(step)
        decay = min(0.7, 1 - 1 / (step + 1))
        expected = {name: decay * expected[name] + (1 - decay) * value.detach() for name, value in network.named_parameters()}
    for name, value in term.teacher.named_parameters():
        torch.testing.assert_close(value, expected[name])
        assert not value.requires_grad
    assert not term.teacher.training


def test_the_teacher_guides_without_dropout_and_the_network_itself_as_it_is(network, batch):
    logits = network(batch.image_BI, batch.text_BT)
    _, found = term_of(network, MeanTeacher()).term(logits, batch, 1.0, MaskedBce())
    quiet = network.eval().probabilities(batch.image_BI, batch.text_BT)
    torch.testing.assert_close(found.total, sum((head.sigmoid() - quiet).square().sum() for head in logits))
    _, found = term_of(network, Pseudo(confident_from=0.5)).term(logits, batch, 1.0, MaskedBce())
    hard = (network.fuse(logits) >= 0.5).float()
    expected = sum(torch.nn.functional.binary_cross_entropy_with_logits(head, hard, reduction="sum") for head in logits)
    torch.testing.assert_close(found.total, expected)


@pytest.mark.parametrize("option", [Pseudo(confident_from=0.5), MeanTeacher()])
def test_no_gradient_flows_through_what_teaches(network, batch, option):
    heads = [torch.randn(6, 2, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in range(3)]
    term = term_of(network, option)
    term.term(LabelLogits(*heads), batch, 1.0, MaskedBce())[1].total.backward()
    guide = network.fuse(LabelLogits(*heads)).detach() if term.teacher is None else term.teacher.probabilities(batch.image_BI, batch.text_BT)
    for head in heads:
        expected = (
            (head.sigmoid() - (guide >= 0.5).float()) if term.teacher is None else 2 * (head.sigmoid() - guide) * head.sigmoid() * (-head).sigmoid()
        )
        torch.testing.assert_close(head.grad, expected.detach())


def test_a_kind_has_its_own_settings():
    settings = LabelPredictorSettings.model_validate({"unlabelled": {"kind": "mean_teacher", "decay": 0.9}})
    assert settings.unlabelled == MeanTeacher(decay=0.9)
    assert LabelPredictorSettings().unlabelled == "none"
    with pytest.raises(ValidationError, match="decay"):
        LabelPredictorSettings.model_validate({"unlabelled": {"kind": "pseudo", "decay": 0.9}})
