"""Temperatures and the fusion weight of stage 1, from logits of pairs that the network was not trained on ([Calibration]; [method] A1.3, A1.7)."""

from typing import NamedTuple

import torch

from xmr_ray.networks.label_predictor import Fusion, LabelLogits, fuse

TEMPERATURES = tuple(float(t) for t in torch.logspace(-2, 3, 26, base=2.0))
FUSION_WEIGHTS = tuple(i / 10 for i in range(11))
MOST_ROWS = 20_000
_SMALLEST = 1e-6


class Calibration(NamedTuple):
    """Temperatures of the image, text and joint head, weight of the image in the fusion, and the log-loss that they reach."""

    temperature_3: torch.Tensor
    fusion_weight: float
    log_loss: float


def log_loss(probabilities_BC: torch.Tensor, labels_BC: torch.Tensor, *, multi_label: bool) -> float:
    """Mean over pairs of the negative log-likelihood of the labels, summed over classes where there are several.

    >>> round(log_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]), multi_label=False), 4)
    0.6931
    """
    sure_BC = probabilities_BC.clamp(_SMALLEST, 1 - _SMALLEST)
    likelihood_BC = labels_BC * sure_BC.log()
    if multi_label:
        likelihood_BC = likelihood_BC + (1 - labels_BC) * (1 - sure_BC).log()
    return float(-likelihood_BC.sum(dim=1).mean())


def calibrate(logits: LabelLogits, labels_BC: torch.Tensor, *, fusion: Fusion, multi_label: bool, temperatures: bool) -> Calibration:
    """The temperature of each head that minimises its own log-loss, then the fusion weight that minimises that of the fused probability.

    At most the first 20,000 pairs are looked at. Without `temperatures` they stay 1.
    """
    logits = LabelLogits(*(head[:MOST_ROWS].float() for head in logits))
    labels_BC = labels_BC[:MOST_ROWS]
    temperature_3 = torch.ones(3)
    if temperatures:
        temperature_3 = torch.tensor([_best_temperature(head, labels_BC, multi_label=multi_label) for head in logits])

    def loss(weight: float) -> float:
        fused_BC = fuse(logits, fusion=fusion, temperature_3=temperature_3, weight=weight, multi_label=multi_label)
        return log_loss(fused_BC, labels_BC, multi_label=multi_label)

    weights = FUSION_WEIGHTS if fusion in {"weighted", "ensemble"} else (0.5,)
    best = min(weights, key=lambda weight: (loss(weight), abs(weight - 0.5)))
    return Calibration(temperature_3, best, loss(best))


def _best_temperature(logits_BC: torch.Tensor, labels_BC: torch.Tensor, *, multi_label: bool) -> float:
    def loss(temperature: float) -> float:
        scaled_BC = logits_BC / temperature
        return log_loss(scaled_BC.sigmoid() if multi_label else scaled_BC.softmax(dim=1), labels_BC, multi_label=multi_label)

    return min(TEMPERATURES, key=lambda temperature: (loss(temperature), abs(temperature - 1)))
