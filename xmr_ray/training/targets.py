"""From predicted probabilities to targets and trust ([method] A1.6); bought labels override them with trust 1."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field

from xmr_ray.component import Settings
from xmr_ray.types import Ids, LabelSet


class Targets(NamedTuple):
    """Targets and trust of some rows, (B, C) each, in [0, 1]."""

    targets_BC: torch.Tensor
    trust_BC: torch.Tensor


class TargetSettings(Settings):
    """How predicted labels teach stage 2.

    `soft`: the probabilities. `hard`: the likeliest class, or every class from 0.5. `confident`: as `hard`, but a pair with one label counts
    only from `confident_from`. `dual`: an entry is positive from `positive_from`, negative up to `negative_to`, and masked between.
    `class_prior`: an entry is positive from the quantile of its class that reproduces the bought labels' positive rate.

    With `distil` the common space is fitted twice: the mean of predicted labels and of what the first fit learnt from them teaches the
    second, as soft targets.
    """

    kind: Literal["soft", "hard", "confident", "dual", "class_prior"] = "soft"
    sharpness: float = Field(default=1.5, gt=0, description="factor of the log-odds of soft targets; above 1 makes them surer")
    trust: float = Field(default=0.5, gt=0, le=1, description="trust of a predicted entry; a bought one has 1")
    confident_from: float = Field(default=0.7, gt=0, le=1, description="lowest probability of the likeliest class (confident)")
    positive_from: float = Field(default=0.7, ge=0, le=1, description="lowest probability of a positive entry (dual)")
    negative_to: float = Field(default=0.05, ge=0, le=1, description="highest probability of a negative entry (dual)")
    neighbours: int = Field(default=10, ge=0, description="nearest pairs whose predictions a prediction is averaged with (not class_prior); 0: none")
    neighbour_weight: float = Field(default=0.5, ge=0, le=1, description="share of the neighbours' mean in that average")
    neighbour_sample: int = Field(default=4096, ge=1, description="train pairs, drawn by hash, among which neighbours are looked for")
    distil: bool = Field(default=False, description="fit the common space twice: the second learns from the first, too")
    open_set: bool = Field(default=False, description="no trust in predictions of pairs that are less sure than nearly all held-out labelled ones")
    open_set_quantile: float = Field(default=0.95, gt=0, le=1, description="share of held-out labelled pairs that count as sure (open_set)")


def predicted_targets(
    probabilities_BC: torch.Tensor, settings: TargetSettings, *, multi_label: bool, thresholds_C: torch.Tensor | None = None
) -> Targets:
    """Targets and trust from probabilities; `thresholds_C` is needed by `class_prior`.

    >>> dual = TargetSettings(kind="dual", trust=0.5)
    >>> [part.tolist() for part in predicted_targets(torch.tensor([[0.9, 0.3, 0.0]]), dual, multi_label=True)]
    [[[1.0, 0.0, 0.0]], [[0.5, 0.0, 0.5]]]
    """
    full_BC = torch.full_like(probabilities_BC, settings.trust)
    if settings.kind == "soft":
        return Targets(_sharpen(probabilities_BC, settings.sharpness, multi_label=multi_label), full_BC)
    if settings.kind == "dual":
        positive_BC = probabilities_BC >= settings.positive_from
        sure_BC = positive_BC | (probabilities_BC <= settings.negative_to)
        return Targets(positive_BC.to(full_BC.dtype), full_BC * sure_BC)
    if settings.kind == "class_prior" and thresholds_C is not None:
        return Targets((probabilities_BC >= thresholds_C).to(full_BC.dtype), full_BC)
    likeliest_B1 = probabilities_BC.argmax(dim=1, keepdim=True)
    one_hot_BC = torch.zeros_like(probabilities_BC).scatter(1, likeliest_B1, 1.0)
    targets_BC = (probabilities_BC >= 0.5).to(full_BC.dtype) if multi_label else one_hot_BC
    if settings.kind == "confident":
        sure_BC = (probabilities_BC - 0.5).abs() + 0.5 if multi_label else probabilities_BC.amax(dim=1, keepdim=True)
        full_BC = full_BC * (sure_BC >= settings.confident_from)
    return Targets(targets_BC, full_BC)


def _sharpen(probabilities_BC: torch.Tensor, sharpness: float, *, multi_label: bool) -> torch.Tensor:
    """`p^s`, renormalised over the classes of a pair, or over present and absent of each class."""
    if sharpness == 1:
        return probabilities_BC
    powers_BC = probabilities_BC**sharpness
    rest = (1 - probabilities_BC) ** sharpness + powers_BC if multi_label else powers_BC.sum(dim=1, keepdim=True)
    return powers_BC / rest


def prior_thresholds(probabilities_LC: torch.Tensor, labels_LC: torch.Tensor) -> torch.Tensor:
    """Per class, the probability from which as many of these pairs are positive as have the label; above 1 where none has it.

    `probabilities_LC` must come from networks that did not see these labels.

    >>> prior_thresholds(torch.tensor([[0.9], [0.4], [0.1]]), torch.tensor([[1.0], [1.0], [0.0]])).tolist()
    [0.4000000059604645]
    """
    num_positive_C = labels_LC.sum(dim=0).long()
    descending_LC = probabilities_LC.sort(dim=0, descending=True).values
    lowest_C = descending_LC.gather(0, (num_positive_C - 1).clamp(min=0)[None])[0]
    return torch.where(num_positive_C > 0, lowest_C, torch.full_like(lowest_C, 2.0))


def with_bought(targets: Targets, pair_ids_B: Ids, bought: LabelSet) -> Targets:
    """Targets in which bought labels replace predictions, with trust 1."""
    known_B = bought.positions(pair_ids_B) >= 0
    if not known_B.any():
        return targets
    at = torch.from_numpy(np.flatnonzero(known_B)).to(targets.targets_BC.device)
    labels_BC = torch.from_numpy(bought.dense(pair_ids_B[known_B], num_classes=targets.targets_BC.shape[1]))
    targets_BC = targets.targets_BC.index_copy(0, at, labels_BC.to(targets.targets_BC.device))
    return Targets(targets_BC, targets.trust_BC.index_fill(0, at, 1.0))
