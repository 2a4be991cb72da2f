"""Where the targets of stage 2 come from: the label predictor or a common space that it taught, and what was bought; or bought labels alone."""

import torch

from xmr_ray.networks import CommonSpace, LabelPredictor
from xmr_ray.training.label_predictor import BLOCK, FitContext, predict_logits
from xmr_ray.training.neighbours import NeighbourMean
from xmr_ray.training.open_set import distrust_beyond
from xmr_ray.training.rows import RowBatch, Rows
from xmr_ray.training.targets import Targets, TargetSettings, predicted_targets, with_bought
from xmr_ray.types import LabelSet


class Known:
    """Bought labels of rows that every rank holds; trust 1."""

    def __init__(self, labels_LC: torch.Tensor) -> None:
        self._labels_LC = labels_LC

    def __call__(self, batch: RowBatch) -> Targets:
        """Labels by position."""
        assert batch.positions_B is not None, "held rows have positions"
        labels_BC = self._labels_LC[batch.positions_B]
        return Targets(labels_BC, torch.ones_like(labels_BC))


class Predicted:
    """Predicted probabilities as targets, bought labels over them. Probabilities of resident rows are computed once, of streamed ones by batch.

    `neighbours` average each prediction with those of the nearest pairs. `thresholds_C` is needed by `class_prior`; a pair of whose prediction
    in stage 1 the normalised entropy is above `entropy_limit` gets no trust.
    """

    def __init__(
        self,
        predictor: LabelPredictor,
        settings: TargetSettings,
        bought: LabelSet,
        context: FitContext,
        *,
        thresholds_C: torch.Tensor | None,
        entropy_limit: float | None = None,
        neighbours: NeighbourMean | None = None,
    ) -> None:
        self._predictor, self._settings, self._bought, self._context = predictor, settings, bought, context
        self._thresholds_C, self._entropy_limit, self._neighbours = thresholds_C, entropy_limit, neighbours
        self._teacher: CommonSpace | None = None
        self._held: tuple[torch.Tensor, torch.Tensor] | None = None

    def remember(self, rows: Rows) -> None:
        """Compute the probabilities of all rows that this rank holds, if it holds them."""
        if rows.resident:
            none = torch.zeros(1, self._context.dims.num_classes)
            parts = [self._predict(block) for block in rows.blocks(BLOCK)] or [(none, none)]
            self._held = torch.cat([own_BC for own_BC, _ in parts]), torch.cat([taught_BC for _, taught_BC in parts])

    def follow(self, teacher: CommonSpace, rows: Rows) -> None:
        """From now on give soft targets from the mean of these probabilities and those of a common space that learnt from them ([BornAgain])."""
        self._teacher, self._settings = teacher, self._settings.model_copy(update={"kind": "soft"})
        if self._held is not None:
            own_NC, taught_NC = self._held
            parts = [modality_mean(teacher, block, self._context) for block in rows.blocks(BLOCK)]
            self._held = own_NC, torch.lerp(taught_NC, torch.cat(parts), 0.5) if parts else taught_NC

    def __call__(self, batch: RowBatch) -> Targets:
        """Targets and trust of a batch, on the CPU."""
        if self._held is not None and batch.positions_B is not None:
            own_BC, taught_BC = (held_NC[batch.positions_B] for held_NC in self._held)
        else:
            own_BC, taught_BC = self._predict(batch)
        multi_label = self._context.dims.multi_label
        targets = predicted_targets(taught_BC, self._settings, multi_label=multi_label, thresholds_C=self._thresholds_C)
        if self._entropy_limit is not None:
            targets = distrust_beyond(targets, own_BC, self._entropy_limit, multi_label=multi_label)
        return with_bought(targets, batch.pair_ids_B, self._bought)

    def _predict(self, batch: RowBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities of stage 1 alone, and those that teach."""
        logits = next(predict_logits(self._predictor, iter([batch]), self._context))
        with torch.no_grad():
            own_BC = self._predictor.fuse(logits).cpu()
        taught_BC = own_BC if self._neighbours is None else self._neighbours(batch, own_BC)
        if self._teacher is not None:
            taught_BC = torch.lerp(taught_BC, modality_mean(self._teacher, batch, self._context), 0.5)
        return own_BC, taught_BC


def modality_mean(space: CommonSpace, batch: RowBatch, context: FitContext) -> torch.Tensor:
    """Mean of the class probabilities (B, C) that a finished common space gives each modality, on the CPU."""
    image_BI, text_BT = (features.to(context.device, non_blocking=True) for features in (batch.image_BI, batch.text_BT))
    with torch.no_grad(), torch.autocast(context.device.type, torch.bfloat16, enabled=context.precision == "bf16"):
        _, _, image_BC, text_BC = space.embed(image_BI, text_BT)
    return ((image_BC + text_BC) / 2).cpu()
