import numpy as np
import pytest
import torch

from xmr_ray.training.targets import Targets, TargetSettings, predicted_targets, prior_thresholds, with_bought
from xmr_ray.types import EMPTY_LABELS, LabelSet

PROBABILITIES = torch.tensor([[0.75, 0.20, 0.05], [0.40, 0.35, 0.25]])


@pytest.mark.parametrize(
    ("kind", "multi_label", "targets", "trust"),
    [
        ("soft", True, PROBABILITIES.tolist(), [[0.5] * 3] * 2),
        ("soft", False, PROBABILITIES.tolist(), [[0.5] * 3] * 2),
        ("hard", False, [[1, 0, 0], [1, 0, 0]], [[0.5] * 3] * 2),
        ("hard", True, [[1, 0, 0], [0, 0, 0]], [[0.5] * 3] * 2),
        ("confident", False, [[1, 0, 0], [1, 0, 0]], [[0.5] * 3, [0.0] * 3]),
        ("confident", True, [[1, 0, 0], [0, 0, 0]], [[0.5, 0.5, 0.5], [0.0, 0.0, 0.5]]),
        ("dual", True, [[1, 0, 0], [0, 0, 0]], [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]),
        ("class_prior", True, [[1, 0, 0], [1, 1, 1]], [[0.5] * 3] * 2),
    ],
)
def test_each_kind_by_hand(kind, multi_label, targets, trust):
    thresholds = torch.tensor([0.4, 0.3, 0.2])
    found = predicted_targets(PROBABILITIES, TargetSettings(kind=kind, sharpness=1), multi_label=multi_label, thresholds_C=thresholds)
    torch.testing.assert_close(found.targets_BC, torch.tensor(targets, dtype=torch.float32))
    torch.testing.assert_close(found.trust_BC, torch.tensor(trust, dtype=torch.float32))


@pytest.mark.parametrize("multi_label", [True, False])
def test_sharpness_is_a_factor_of_the_log_odds(multi_label):
    found = predicted_targets(PROBABILITIES, TargetSettings(sharpness=3.0), multi_label=multi_label).targets_BC
    expected = (3 * torch.logit(PROBABILITIES)).sigmoid() if multi_label else (3 * PROBABILITIES.log()).softmax(dim=1)
    torch.testing.assert_close(found, expected)


def test_thresholds_reproduce_the_rate_of_each_class():
    rng = np.random.default_rng(0)
    probabilities = torch.from_numpy(rng.uniform(size=(40, 3))).float()
    labels = torch.from_numpy((rng.uniform(size=(40, 3)) < [0.1, 0.5, 0.0]).astype(np.float32))
    thresholds = prior_thresholds(probabilities, labels)
    assert ((probabilities >= thresholds).sum(dim=0) == labels.sum(dim=0)).all()
    assert labels.sum(dim=0)[2] == 0


def test_bought_labels_replace_predictions_with_full_trust():
    bought = LabelSet.of([7, 3], [[0, 2], [1]])
    predicted = Targets(torch.full((4, 3), 0.2), torch.full((4, 3), 0.5))
    found = with_bought(predicted, np.array([1, 3, 7, -1]), bought)
    torch.testing.assert_close(found.targets_BC, torch.tensor([[0.2, 0.2, 0.2], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.2, 0.2, 0.2]]))
    assert found.trust_BC[:, 0].tolist() == [0.5, 1.0, 1.0, 0.5]
    assert predicted.trust_BC.unique().tolist() == [0.5]


def test_nothing_bought_changes_nothing():
    predicted = Targets(torch.full((1, 3), 0.2), torch.full((1, 3), 0.5))
    assert with_bought(predicted, np.array([4]), EMPTY_LABELS) is predicted
