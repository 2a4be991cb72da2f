"""Where the targets of stage 2 come from: the label predictor and what was bought, or bought labels alone."""

import torch

from xmr_ray.networks import LabelPredictor
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

    `neighbours` average each prediction with those of the nearest pairs. `thresholds_C` is needed by `class_prior`; a pair of whose own
    prediction the normalised entropy is above `entropy_limit` gets no trust.
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
        self._own_NC: torch.Tensor | None = None
        self._mixed_NC: torch.Tensor | None = None

    def remember(self, rows: Rows) -> None:
        """Compute the probabilities of all rows that this rank holds, if it holds them."""
        if rows.resident:
            parts = [self._predict(block) for block in rows.blocks(BLOCK)]
            none = torch.zeros(0 if parts else 1, self._context.dims.num_classes)
            self._own_NC = torch.cat([*(own_BC for own_BC, _ in parts), none])
            self._mixed_NC = self._own_NC if self._neighbours is None else torch.cat([*(mixed_BC for _, mixed_BC in parts), none])

    def __call__(self, batch: RowBatch) -> Targets:
        """Targets and trust of a batch, on the CPU."""
        if self._own_NC is not None and self._mixed_NC is not None and batch.positions_B is not None:
            own_BC, mixed_BC = self._own_NC[batch.positions_B], self._mixed_NC[batch.positions_B]
        else:
            own_BC, mixed_BC = self._predict(batch)
        multi_label = self._context.dims.multi_label
        targets = predicted_targets(mixed_BC, self._settings, multi_label=multi_label, thresholds_C=self._thresholds_C)
        if self._entropy_limit is not None:
            targets = distrust_beyond(targets, own_BC, self._entropy_limit, multi_label=multi_label)
        return with_bought(targets, batch.pair_ids_B, self._bought)

    def _predict(self, batch: RowBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities of stage 1 alone, and averaged with neighbours'."""
        logits = next(predict_logits(self._predictor, iter([batch]), self._context))
        with torch.no_grad():
            own_BC = self._predictor.fuse(logits).cpu()
        return own_BC, own_BC if self._neighbours is None else self._neighbours(batch, own_BC)
