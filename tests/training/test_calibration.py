import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss as sklearn_log_loss

from xmr_ray.networks.label_predictor import LabelLogits
from xmr_ray.training.calibration import FUSION_WEIGHTS, TEMPERATURES, calibrate, log_loss


def drawn(num, classes, *, multi_label, seed=0):
    """Logits, and labels drawn from just the probabilities that they mean."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num, classes)) * 2
    if multi_label:
        labels = (rng.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    else:
        labels = np.eye(classes, dtype=np.float32)[(logits + rng.gumbel(size=logits.shape)).argmax(axis=1)]
    return torch.from_numpy(logits).float(), torch.from_numpy(labels)


def test_log_loss_of_one_label_is_sklearns():
    logits, labels = drawn(50, 4, multi_label=False)
    found = log_loss(logits.softmax(dim=1), labels, multi_label=False)
    assert found == pytest.approx(sklearn_log_loss(labels.argmax(dim=1), logits.double().softmax(dim=1)), abs=1e-5)


def test_log_loss_of_several_labels_is_the_sum_over_classes():
    logits, labels = drawn(50, 3, multi_label=True)
    expected = sum(sklearn_log_loss(labels[:, c], logits.sigmoid()[:, c].double(), labels=[0, 1]) for c in range(3))
    assert log_loss(logits.sigmoid(), labels, multi_label=True) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("multi_label", [True, False])
def test_known_temperatures_are_found(multi_label):
    logits, labels = drawn(8000, 5, multi_label=multi_label)
    heads = LabelLogits(logits * 2, logits * 0.5, logits)
    found = calibrate(heads, labels, fusion="ensemble", multi_label=multi_label, temperatures=True).temperature_3
    step = TEMPERATURES[1] / TEMPERATURES[0]
    for temperature, expected in zip(found.tolist(), (2.0, 0.5, 1.0), strict=True):
        assert expected / step <= temperature <= expected * step


def test_without_temperatures_they_stay_one():
    logits, labels = drawn(100, 3, multi_label=True)
    assert (
        calibrate(LabelLogits(logits * 5, logits, logits), labels, fusion="mean", multi_label=True, temperatures=False).temperature_3.tolist()
        == [1] * 3
    )


@pytest.mark.parametrize(("good", "weight"), [("image", 1.0), ("text", 0.0)])
def test_a_modality_without_information_gets_no_weight(good, weight):
    logits, labels = drawn(4000, 4, multi_label=False)
    noise, _ = drawn(4000, 4, multi_label=False, seed=9)
    heads = LabelLogits(logits, noise, logits) if good == "image" else LabelLogits(noise, logits, logits)
    found = calibrate(heads, labels, fusion="weighted", multi_label=False, temperatures=False)
    assert found.fusion_weight == weight


def test_the_weight_reaches_the_lowest_log_loss_of_the_grid():
    logits, labels = drawn(300, 3, multi_label=True)
    noise, _ = drawn(300, 3, multi_label=True, seed=4)
    heads = LabelLogits(logits + noise, logits - noise, logits * 0)
    found = calibrate(heads, labels, fusion="weighted", multi_label=True, temperatures=False)
    losses = [log_loss((a * heads.image_BC + (1 - a) * heads.text_BC).sigmoid(), labels, multi_label=True) for a in FUSION_WEIGHTS]
    assert found.log_loss == pytest.approx(min(losses), abs=1e-6)
    assert found.fusion_weight == FUSION_WEIGHTS[int(np.argmin(losses))]
