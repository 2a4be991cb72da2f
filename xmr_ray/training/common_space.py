"""Stage 2: fit the common space on every training pair, bought or predicted."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field

from xmr_ray.component import Settings
from xmr_ray.losses import AnyLabelLoss, AnySpaceLoss, LabelRows, LossSums, Pairing, Pairwise, SpaceRows, modality_sums
from xmr_ray.networks import AnyCommonSpace, CommonSpace, TwoTower
from xmr_ray.networks.common_space import TowerOutputs
from xmr_ray.training.label_predictor import FitContext, label_loss
from xmr_ray.training.randomness import seeded
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import RowBatch, Rows
from xmr_ray.training.stepper import OptimiserSettings, Stepper, mean_over_ranks
from xmr_ray.training.targets import Targets
from xmr_ray.training.warm_start import start_from

State = dict[str, Any]


class SpaceTerm(Settings):
    """A loss over embeddings and its weight."""

    loss: AnySpaceLoss
    weight: float = Field(gt=0, description="factor of this loss")


DEFAULT_SPACE_LOSSES = (SpaceTerm(loss=Pairwise(), weight=1e-3), SpaceTerm(loss=Pairing(), weight=0.1))


class CommonSpaceSettings(OptimiserSettings):
    """How stage 2 learns. `steps` become whole epochs: `ceil(steps * batch_size / rows)`, at least `min_epochs`."""

    network: AnyCommonSpace = TwoTower()
    learning_rate: float = Field(default=1.5e-3, gt=0, description="highest learning rate of the cycle")
    steps: int = Field(default=600, ge=1, description="optimiser steps, rounded up to whole epochs")
    min_epochs: int = Field(default=1, ge=1, description="fewest passes over the rows")
    checks: int = Field(default=8, ge=1, description="how often validation mAP is looked at (validation: split)")
    patience: int | None = Field(default=3, ge=1, description="checks without improvement after which the fit stops (validation: split); None: never")
    loss: AnyLabelLoss | Literal["auto"] = Field(default="auto", description="J1; auto: masked_bce for several labels, cross_entropy for one")
    shared_weight: float = Field(default=1.0, ge=0, description="weight of J1 on the classifier that reads the common space")
    space_losses: tuple[SpaceTerm, ...] = Field(default=DEFAULT_SPACE_LOSSES, description="losses over embeddings: J2, J3 or others")

    def num_epochs(self, num_rows: int) -> int:
        """Passes over `num_rows` rows."""
        return max(self.min_epochs, math.ceil(self.steps * self.batch_size / max(num_rows, 1)))


@dataclass(frozen=True)
class SpaceHooks:
    """What the epoch loop tells and asks; every rank calls every hook at the same time.

    `on_epoch` gets numbers; `save` a state every `save_every` epochs; `validate` gives a figure where more is better.
    """

    on_epoch: Callable[[dict[str, float]], None]
    save: Callable[[State], None] | None = None
    save_every: int = 1
    validate: Callable[[CommonSpace], float] | None = None


@dataclass
class _Progress:
    """Where the fit stands; `best` holds weights where there is validation."""

    epoch: int = 0
    rows_seen: float = 0.0
    figures: list[float] | None = None
    best: dict[str, torch.Tensor] | None = None


class SpaceFit:
    """One fit of stage 2; `run` may begin from the state of an interrupted one and then ends with the same weights.

    It starts from the weights of `previous` where that is given; raises `CheckpointError` if they do not fit. Fits of another `name` draw
    other random numbers.
    """

    def __init__(
        self, settings: CommonSpaceSettings, context: FitContext, *, num_rows: int, previous: CommonSpace | None = None, name: str = "common_space"
    ) -> None:
        self.settings, self._context, self._num_rows, self._name = settings, context, num_rows, name
        self.num_epochs = settings.num_epochs(num_rows)
        with seeded(context.device, *context.key(name)):
            self.network = settings.network.build(context.dims)
        if previous is not None:
            start_from(self.network, previous)
        self.network.set_statistics(context.statistics)
        self.network.to(context.device).train()
        self._stepper = Stepper(self.network, settings, ranks=context.ranks, device=context.device, precision=context.precision)
        self._loss = label_loss(settings.loss, multi_label=context.dims.multi_label)
        self._now = _Progress()

    def restore(self, state: State) -> None:
        """Take over a state that `run` gave to `hooks.save`."""
        self.network.load_state_dict(state["weights"])
        self._stepper.optimiser.load_state_dict(state["optimiser"])
        self._now = _Progress(state["epoch"], state["rows_seen"], state["figures"], state["best"])

    def run(self, rows: Rows, targets: Callable[[RowBatch], Targets], hooks: SpaceHooks) -> CommonSpace:
        """Train to the last epoch, or until patience ends; returns the network in evaluation mode."""
        check_every = max(1, self.num_epochs // self.settings.checks)
        while self._now.epoch < self.num_epochs and not self._patience_ended():
            numbers = self._epoch(rows, targets)
            self._now.epoch += 1
            if hooks.validate is not None and (self._now.epoch % check_every == 0 or self._now.epoch == self.num_epochs):
                numbers["validation_map"] = self._check(hooks.validate)
            hooks.on_epoch({"stage": 2, "epoch": self._now.epoch, **numbers})
            if hooks.save is not None and self._now.epoch % hooks.save_every == 0 and self._now.epoch < self.num_epochs:
                hooks.save(self._state())
        if self._now.best is not None:
            self.network.load_state_dict(self._now.best)
        return self.network.eval()

    @property
    def epochs_run(self) -> int:
        """Epochs that were trained."""
        return self._now.epoch

    def _state(self) -> State:
        now = self._now
        state = {"epoch": now.epoch, "rows_seen": now.rows_seen, "figures": now.figures, "best": now.best}
        return copy.deepcopy({**state, "weights": self.network.state_dict(), "optimiser": self._stepper.optimiser.state_dict()})

    def _patience_ended(self) -> bool:
        figures, patience = self._now.figures, self.settings.patience
        return figures is not None and patience is not None and len(figures) - 1 - figures.index(max(figures)) >= patience

    def _check(self, validate: Callable[[CommonSpace], float]) -> float:
        self.network.eval()
        figure = float(self._context.ranks.first(torch.tensor(validate(self.network), dtype=torch.float64)))
        self.network.train()
        self._now.figures = [*(self._now.figures or []), figure]
        if figure >= max(self._now.figures):
            self._now.best = copy.deepcopy(self.network.state_dict())
        return figure

    def _epoch(self, rows: Rows, targets: Callable[[RowBatch], Targets]) -> dict[str, float]:
        context, total, steps = self._context, torch.zeros((), device=self._context.device), 0
        all_rows = float(self.num_epochs * self._num_rows)
        with seeded(context.device, *context.key(self._name, self._now.epoch, context.ranks.rank)):
            for batch in rows.epoch(self._now.epoch, self.settings.batch_size):
                loss = self._batch_loss(batch, targets(batch))
                self._stepper.step(loss, self._now.rows_seen / all_rows)
                self._now.rows_seen += self._rows_of(batch)
                total, steps = total + loss.detach(), steps + 1
        return {"loss": float(context.ranks.sum(total)) / max(steps, 1) / context.ranks.world}

    def _rows_of(self, batch: RowBatch) -> float:
        return float(self._context.ranks.sum(batch.weight_B.sum()))

    def _batch_loss(self, batch: RowBatch, targets: Targets) -> torch.Tensor:
        settings, device = self.settings, self._context.device
        outputs: TowerOutputs = self._stepper.forward(batch.image_BI, batch.text_BT)
        targets_BC, trust_BC, weight_B = (part.to(device, non_blocking=True) for part in (*targets, batch.weight_B))
        multi_label = self._context.dims.multi_label

        def classification(*heads: torch.Tensor) -> LossSums:
            return self._loss.sums(LabelRows(heads, targets_BC, trust_BC, weight_B, multi_label=multi_label))

        terms = [(1.0, classification(outputs.image_logits_BC, outputs.text_logits_BC))]
        if self.network.config.classifier == "own":
            terms.append((settings.shared_weight, classification(outputs.image_shared_logits_BC, outputs.text_shared_logits_BC)))
        if outputs.image_modality_B is not None and outputs.text_modality_B is not None:
            modality = modality_sums(outputs.image_modality_B, outputs.text_modality_B, weight_B)
            terms.append((self.network.config.adversarial_weight, modality))
        local = SpaceRows(outputs.image_embedding_BD, outputs.text_embedding_BD, targets_BC, trust_BC, weight_B, multi_label)
        with self._stepper.autocast():
            terms += space_terms(settings.space_losses, local, self._context.ranks)
        return mean_over_ranks(terms, self._context.ranks)


def space_terms(configured: tuple[SpaceTerm, ...], local: SpaceRows, ranks: Ranks) -> list[tuple[float, LossSums]]:
    """Each loss over embeddings with its weight; rows travel between ranks only if a loss compares them."""
    everyone = gather_rows(local, ranks) if any(term.loss.pairs for term in configured) else local
    return [(term.weight, term.loss.sums(local, everyone)) for term in configured]


def gather_rows(local: SpaceRows, ranks: Ranks) -> SpaceRows:
    """The rows of all ranks, with gradients; ranks with fewer rows bring rows of weight 0."""
    if ranks.world == 1:
        return local
    missing = ranks.max(len(local.weight_B)) - len(local.weight_B)

    def gather(values: torch.Tensor) -> torch.Tensor:
        return ranks.gather(torch.cat([values, values.new_zeros((missing, *values.shape[1:]))]))

    return SpaceRows(
        gather(local.image_embedding_BD),
        gather(local.text_embedding_BD),
        gather(local.targets_BC),
        gather(local.trust_BC),
        gather(local.weight_B),
        local.multi_label,
    )
