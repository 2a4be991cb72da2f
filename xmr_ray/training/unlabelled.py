"""What pairs without a label add to the loss of stage 1 ([method] A1.5)."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from xmr_ray.component import Component
from xmr_ray.losses import LabelLoss, LabelRows, LossSums, Mse, entropy_sums
from xmr_ray.networks import LabelPredictor
from xmr_ray.networks.label_predictor import LabelLogits
from xmr_ray.training.rows import RowBatch, Rows, endless
from xmr_ray.training.targets import TargetSettings, predicted_targets
from xmr_ray.types import Ids


class UnlabelledLoss(Component):
    """A loss over unlabelled rows, whose weight rises to `weight` as `exp(-5 (1 - t)^2)` ([MeanTeacher])."""

    weight: float = Field(default=1.0, gt=0, description="factor of this loss beside the loss of bought labels")
    ramp_up: float = Field(default=0.3, ge=0, le=1, description="share of the steps over which the weight rises from near 0")

    def weight_at(self, progress: float) -> float:
        """The factor at `progress` in [0, 1] of the steps.

        >>> option = Entropy(weight=2.0, ramp_up=0.5)
        >>> [round(option.weight_at(p), 3) for p in (0.0, 0.25, 0.5, 1.0)]
        [0.013, 0.573, 2.0, 2.0]
        """
        missing = max(0.0, 1 - progress / self.ramp_up) if self.ramp_up else 0.0
        return self.weight * math.exp(-5 * missing**2)

    def sums(self, rows: LabelRows, loss: LabelLoss) -> LossSums:
        """This rank's share; targets are the fused probabilities of the network itself or its teacher, without gradient; mass: number of rows."""
        raise NotImplementedError


class Pseudo(UnlabelledLoss):
    """The network's own confident predictions as labels of all three heads, with the loss of bought labels ([PseudoLabel]).

    An entry that is not confident has trust 0. The mean is over all rows, so that few confident ones weigh little. Class weights play no part.
    """

    kind: Literal["pseudo"] = "pseudo"
    confident_from: float = Field(default=0.95, ge=0.5, le=1, description="lowest probability of what is predicted, present or absent")

    def sums(self, rows: LabelRows, loss: LabelLoss) -> LossSums:
        """The loss against the predictions that are confident."""
        confident = TargetSettings(kind="confident", trust=1.0, confident_from=self.confident_from)
        targets_BC, trust_BC = predicted_targets(rows.targets_BC, confident, multi_label=rows.multi_label)
        return LossSums(loss.sums(replace(rows, targets_BC=targets_BC, trust_BC=trust_BC)).total, rows.weight_B.sum())


class Entropy(UnlabelledLoss):
    """The entropy of each head's prediction ([EntropyMinimisation])."""

    kind: Literal["entropy"] = "entropy"
    weight: float = Field(default=0.1, gt=0, description="factor of this loss beside the loss of bought labels")

    def sums(self, rows: LabelRows, loss: LabelLoss) -> LossSums:  # noqa: ARG002 entropy needs no targets
        """The entropy in nats."""
        return entropy_sums(rows.heads, rows.weight_B, multi_label=rows.multi_label)


class MeanTeacher(UnlabelledLoss):
    """Squared distance of each head's probabilities from those of a teacher, the moving average of the network's weights ([MeanTeacher]).

    The teacher reads rows without dropout; its fused probability teaches all three heads, which is ours. The teacher is what predicts:
    it is calibrated, saved, and makes the targets of stage 2.
    """

    kind: Literal["mean_teacher"] = "mean_teacher"
    decay: float = Field(default=0.99, ge=0, lt=1, description="share of the teacher that stays at a step; at step t at most 1 - 1 / (t + 1)")

    def sums(self, rows: LabelRows, loss: LabelLoss) -> LossSums:  # noqa: ARG002 always the squared error of probabilities
        """The squared error over all classes."""
        return Mse().sums(rows)


AnyUnlabelled = Annotated[Pseudo | Entropy | MeanTeacher, Field(discriminator="kind")]


@dataclass(frozen=True)
class UnlabelledRows:
    """This rank's train rows, of which the bought ones have weight 0: no held-out label has a part in this loss."""

    rows: Rows
    bought_N: Ids

    def batches(self, batch_size: int) -> Iterator[RowBatch]:
        """Epoch after epoch."""
        for batch in endless(self.rows, batch_size):
            unlabelled_B = torch.from_numpy(~np.isin(batch.pair_ids_B, self.bought_N))
            yield replace(batch, weight_B=batch.weight_B * unlabelled_B)


class UnlabelledTerm:
    """The loss over unlabelled rows in one fit of `network`, and the teacher if there is one."""

    def __init__(self, settings: UnlabelledLoss, rows: UnlabelledRows, network: LabelPredictor, *, batch_size: int) -> None:
        self._settings, self._network = settings, network
        self._batches = rows.batches(batch_size)
        self.teacher = copy.deepcopy(network).eval().requires_grad_(False) if isinstance(settings, MeanTeacher) else None

    def next_batch(self) -> RowBatch:
        """The rows of the next step."""
        return next(self._batches)

    def term(self, logits: LabelLogits, batch: RowBatch, progress: float, loss: LabelLoss) -> tuple[float, LossSums]:
        """Weight and sums of this batch, whose logits the network gave."""
        device = logits.joint_BC.device
        with torch.no_grad():
            if self.teacher is None:
                guide_BC = self._network.fuse(logits)
            else:
                guide_BC = self.teacher.probabilities(batch.image_BI.to(device), batch.text_BT.to(device))
        weight_B = batch.weight_B.to(device)
        rows = LabelRows(tuple(logits), guide_BC, torch.ones_like(guide_BC), weight_B, multi_label=self._network.dims.multi_label)
        return self._settings.weight_at(progress), self._settings.sums(rows, loss)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Let the teacher follow the network, after this many steps."""
        if self.teacher is not None and isinstance(self._settings, MeanTeacher):
            decay = min(self._settings.decay, 1 - 1 / (step + 1))
            for mine, learnt in zip(self.teacher.parameters(), self._network.parameters(), strict=True):
                mine.lerp_(learnt, 1 - decay)
