"""Stage 1: fit the label predictor on bought labels, with the number of steps and the calibration chosen on labels held out of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from xmr_ray.losses import AnyLabelLoss, CrossEntropy, LabelRows, LossSums, MaskedBce, center_sums
from xmr_ray.networks import AnyLabelPredictor, LabelPredictor, NetworkDims, TwoBranch
from xmr_ray.networks.label_predictor import CentredPredictor, LabelLogits
from xmr_ray.training.calibration import Calibration, calibrate
from xmr_ray.training.randomness import generator, seeded
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import HeldRows, RowBatch, Rows, concatenate, endless
from xmr_ray.training.stepper import OptimiserSettings, Stepper, mean_over_ranks
from xmr_ray.training.unlabelled import AnyUnlabelled, UnlabelledRows, UnlabelledTerm
from xmr_ray.training.warm_start import start_from
from xmr_ray.types import FeatureStatistics

BLOCK = 4096
FEWEST_TO_HOLD_OUT = 8


class LabelPredictorSettings(OptimiserSettings):
    """How stage 1 learns."""

    network: AnyLabelPredictor = TwoBranch()
    steps: int = Field(default=300, ge=1, description="most optimiser steps; early stopping may take fewer")
    folds: int = Field(default=3, ge=2, description="parts of the bought labels, each held out once (validation: cross_fit)")
    checks: int = Field(default=6, ge=1, description="how often the held-out loss is looked at during a fit")
    patience: int | None = Field(default=3, ge=1, description="checks without improvement after which a fit stops; None: never")
    temperature: bool = Field(default=True, description="calibrate each head on held-out pairs")
    loss: AnyLabelLoss | Literal["auto"] = Field(default="auto", description="auto: masked_bce for several labels, cross_entropy for one")
    class_weight: float = Field(default=1.0, ge=1, description="highest weight of a positive entry, from 1 to negatives per positive; 1: off")
    center_weight: float = Field(default=0.0, ge=0, description="weight of the center loss on hidden units, 0.003 where it is used; 0: off")
    unlabelled: AnyUnlabelled | Literal["none"] = Field(default="none", description="loss over unlabelled pairs: pseudo, entropy or mean_teacher")


@dataclass(frozen=True)
class FitContext:
    """What both stages share: where, with whom and from which random numbers they learn."""

    dims: NetworkDims
    statistics: FeatureStatistics
    ranks: Ranks
    device: torch.device
    precision: Literal["f32", "bf16"]
    seed: int
    round_index: int

    def key(self, *parts: int | str) -> tuple[int | str, ...]:
        """Parts of a random key of this fit."""
        return (self.seed, self.round_index, *parts)


@dataclass(frozen=True)
class Labelled:
    """Rows with their labels (L, C), the same on every rank."""

    rows: HeldRows
    labels_LC: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels_LC)

    def subset(self, at: torch.Tensor) -> "Labelled":
        """Some of the rows."""
        return Labelled(self.rows.subset(at), self.labels_LC[at])


@dataclass(frozen=True)
class PredictorFit:
    """The network with its calibration set; `steps` were taken; `held_out_BC` are probabilities that no label of the row had a part in."""

    network: LabelPredictor
    steps: int
    calibration: Calibration | None
    held_out_BC: torch.Tensor | None
    held_out_labels_BC: torch.Tensor | None


def fit_label_predictor(
    settings: LabelPredictorSettings,
    bought: Labelled,
    context: FitContext,
    *,
    validation: Labelled | None,
    on_check: Callable[[dict[str, float]], None],
    unlabelled: Rows | None = None,
    previous: LabelPredictor | None = None,
) -> PredictorFit:
    """Fit on all bought labels. Steps, temperatures and fusion weight come from `validation`, or from cross-fitting where it is None.

    Cross-fitting trains one network per fold on the labels outside it; the check with the lowest calibrated log-loss over all held-out
    labels gives the number of steps. With fewer than 8 labels nothing is held out: all steps are taken, and nothing is calibrated.
    `unlabelled` are this rank's train rows; `settings.unlabelled` says whether they are used. The fit starts from the weights of `previous`
    where it is given; networks of folds start cold all the same, because `previous` has seen the labels that they hold out.

    Raises:
        CheckpointError: the weights of `previous` do not fit.
    """
    trials = [(bought, validation)] if validation is not None else _folds(settings, bought, context)
    others = None if unlabelled is None or settings.unlabelled == "none" else UnlabelledRows(unlabelled, bought.rows.pair_ids_N)
    warm = previous if validation is not None else None
    curves = [_checked(settings, part, held_out, context, name=k, others=others, previous=warm) for k, (part, held_out) in enumerate(trials)]
    steps, calibration, logits = settings.steps, None, None
    labels_BC = torch.cat([held_out.labels_LC for _, held_out in trials]) if trials else None
    if labels_BC is not None:
        pooled = [LabelLogits(*(torch.cat(heads) for heads in zip(*at_check, strict=True))) for at_check in zip(*curves, strict=False)]
        candidates = [_calibrate(settings, logits, labels_BC, context) for logits in pooled]
        for step, candidate in zip(_check_steps(settings), candidates, strict=False):
            on_check({"stage": 1, "step": step, "held_out_log_loss": candidate.log_loss})
        losses_K = context.ranks.first(torch.tensor([candidate.log_loss for candidate in candidates], dtype=torch.float64))
        best = int(losses_K.argmin())
        steps, calibration, logits = _check_steps(settings)[best], candidates[best], pooled[best]
    network = _fit(settings, bought, context, name="all", stops=[steps], on_stop=None, others=others, previous=previous)
    if calibration is not None:
        network.temperature_3.copy_(context.ranks.first(calibration.temperature_3))
        network.fusion_weight.copy_(context.ranks.first(torch.tensor(calibration.fusion_weight)))
    held_out_BC = None if logits is None else network.fuse(LabelLogits(*(head.to(context.device) for head in logits))).cpu()
    return PredictorFit(network.eval(), steps, calibration, held_out_BC, labels_BC)


def label_loss(configured: AnyLabelLoss | Literal["auto"], *, multi_label: bool) -> AnyLabelLoss:
    """The classification loss that is meant by `auto`, or the configured one."""
    if configured != "auto":
        return configured
    return MaskedBce() if multi_label else CrossEntropy()


def class_weights(labels_LC: torch.Tensor, highest: float) -> torch.Tensor | None:
    """`clip(negatives / positives, 1, highest)` per class, None where `highest` is 1 ([method] A1.4).

    >>> class_weights(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), 20.0).tolist()
    [2.0, 20.0]
    """
    if highest == 1:
        return None
    positives_C = labels_LC.sum(dim=0)
    return ((len(labels_LC) - positives_C) / positives_C.clamp(min=0.01)).clamp(1, highest)


def predict_logits(network: LabelPredictor, batches: Iterator[RowBatch], context: FitContext) -> Iterator[LabelLogits]:
    """Logits of batches on the network's device, without dropout; the training mode is put back."""
    training = network.training
    network.eval()
    with torch.no_grad(), torch.autocast(context.device.type, torch.bfloat16, enabled=context.precision == "bf16"):
        for batch in batches:
            yield network(batch.image_BI.to(context.device, non_blocking=True), batch.text_BT.to(context.device, non_blocking=True))
    network.train(training)


def _check_steps(settings: LabelPredictorSettings) -> list[int]:
    """Steps after which the held-out loss is looked at, the last one among them."""
    return sorted({-(-settings.steps * (k + 1) // settings.checks) for k in range(settings.checks)})


def _folds(settings: LabelPredictorSettings, bought: Labelled, context: FitContext) -> list[tuple[Labelled, Labelled]]:
    if len(bought) < FEWEST_TO_HOLD_OUT:
        return []
    order = torch.randperm(len(bought), generator=generator(*context.key("folds")))
    parts = [order[k :: settings.folds].sort().values for k in range(min(settings.folds, len(bought)))]
    outside = [torch.cat([part for other, part in enumerate(parts) if other != k]).sort().values for k in range(len(parts))]
    return [(bought.subset(rest), bought.subset(part)) for rest, part in zip(outside, parts, strict=True)]


def _calibrate(settings: LabelPredictorSettings, logits: LabelLogits, labels_BC: torch.Tensor, context: FitContext) -> Calibration:
    return calibrate(logits, labels_BC, fusion=settings.network.fusion, multi_label=context.dims.multi_label, temperatures=settings.temperature)


def _checked(
    settings: LabelPredictorSettings,
    part: Labelled,
    held_out: Labelled | None,
    context: FitContext,
    *,
    name: int,
    others: UnlabelledRows | None,
    previous: LabelPredictor | None,
) -> list[LabelLogits]:
    """Held-out logits at each check of one fit, until patience ends."""
    assert held_out is not None, "a trial holds out rows"
    curve: list[LabelLogits] = []
    losses: list[float] = []

    def goes_on(network: LabelPredictor) -> bool:
        heads = zip(*predict_logits(network, held_out.rows.blocks(BLOCK), context), strict=True)
        curve.append(LabelLogits(*(torch.cat(parts).cpu() for parts in heads)))
        loss = _calibrate(settings, curve[-1], held_out.labels_LC, context).log_loss
        losses.append(float(context.ranks.first(torch.tensor(loss, dtype=torch.float64))))
        return settings.patience is None or len(losses) - 1 - losses.index(min(losses)) < settings.patience

    _fit(settings, part, context, name=f"fold{name}", stops=_check_steps(settings), on_stop=goes_on, others=others, previous=previous)
    return curve


def _fit(
    settings: LabelPredictorSettings,
    bought: Labelled,
    context: FitContext,
    *,
    name: str,
    stops: Sequence[int],
    on_stop: Callable[[LabelPredictor], bool] | None,
    others: UnlabelledRows | None,
    previous: LabelPredictor | None,
) -> LabelPredictor:
    """One network, or its teacher, after `stops[-1]` steps of the cycle; `on_stop` is asked at each stop whether to go on."""
    with seeded(context.device, *context.key("label_predictor", name)):
        network = settings.network.build(context.dims)
    if previous is not None:
        start_from(network, previous)
    network.set_statistics(context.statistics)
    network.to(context.device).train()
    objective = _Objective(settings, bought, context, network, others)
    with seeded(context.device, *context.key("label_predictor", name, "steps", context.ranks.rank)):
        for step in range(1, stops[-1] + 1):
            objective.step(step)
            if on_stop is not None and step in stops and not on_stop(objective.predictor):
                break
    return objective.predictor


class _Objective:
    """What a fit of stage 1 goes down: bought labels, and what is configured beside them."""

    def __init__(
        self, settings: LabelPredictorSettings, bought: Labelled, context: FitContext, network: LabelPredictor, others: UnlabelledRows | None
    ) -> None:
        self._settings, self._bought, self._context = settings, bought, context
        module = CentredPredictor(network).to(context.device) if settings.center_weight else network
        self._stepper = Stepper(module, settings, ranks=context.ranks, device=context.device, precision=context.precision)
        self._loss = label_loss(settings.loss, multi_label=context.dims.multi_label)
        weights_C = class_weights(bought.labels_LC, settings.class_weight)
        self._weights_C = None if weights_C is None else weights_C.to(context.device)
        self._batches = endless(bought.rows, settings.batch_size)
        self._unlabelled = None
        if others is not None and settings.unlabelled != "none":
            self._unlabelled = UnlabelledTerm(settings.unlabelled, others, network, batch_size=settings.batch_size)
        teacher = None if self._unlabelled is None else self._unlabelled.teacher
        self.predictor: LabelPredictor = network if teacher is None else teacher

    def step(self, step: int) -> None:
        """The optimiser's step number `step`, from 1."""
        progress = (step - 1) / self._settings.steps
        self._stepper.step(mean_over_ranks(self._terms(progress), self._context.ranks), progress)
        if self._unlabelled is not None:
            self._unlabelled.follow(step)

    def _terms(self, progress: float) -> list[tuple[float, LossSums]]:
        batch = next(self._batches)
        others = None if self._unlabelled is None else self._unlabelled.next_batch()
        joined = batch if others is None else concatenate([batch, others])
        outputs = self._stepper.forward(joined.image_BI, joined.text_BT)
        logits, hidden, centres = outputs if self._settings.center_weight else (outputs, None, None)
        num, heads = len(batch), tuple(head[: len(batch)] for head in logits)
        labels_BC, weight_B = (part.to(self._context.device) for part in (self._bought.labels_LC[batch.positions_B], batch.weight_B))
        rows = LabelRows(heads, labels_BC, torch.ones_like(labels_BC), weight_B, self._weights_C, self._context.dims.multi_label)
        terms = [(1.0, self._loss.sums(rows))]
        if hidden is not None and centres is not None:
            terms.append((self._settings.center_weight, center_sums(hidden[:, :num], centres, labels_BC, weight_B)))
        if self._unlabelled is not None and others is not None:
            terms.append(self._unlabelled.term(LabelLogits(*(head[num:] for head in logits)), others, progress, self._loss))
        return terms
