"""One fit a round: stage 1, labels predicted for the train split, stage 2."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from pydantic import Field

from xmr_ray.component import Settings
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.errors import CheckpointError, ConfigError, LedgerError, ResourceError, TrainingError
from xmr_ray.networks import CommonSpace, GaussianHeads, LabelPredictor, NetworkDims
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.retrieval import evaluate
from xmr_ray.training.bought import gather_pairs
from xmr_ray.training.common_space import CommonSpaceSettings, SpaceFit, SpaceHooks, State
from xmr_ray.training.gaussian import HeadSettings, fit_heads
from xmr_ray.training.label_predictor import FitContext, Labelled, LabelPredictorSettings, PredictorFit, fit_label_predictor
from xmr_ray.training.neighbours import sample_neighbours
from xmr_ray.training.open_set import entropy_limit
from xmr_ray.training.precision import Precision, choose_precision
from xmr_ray.training.predicted import Known, Predicted
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import HeldRows, RowBatch, Rows
from xmr_ray.training.targets import Targets, TargetSettings, prior_thresholds
from xmr_ray.types import LabelSet, Split

log = logging.getLogger(__name__)
Network = TypeVar("Network", LabelPredictor, CommonSpace)
_SAVES = 4
_ADVICE = "check the corpus with `xmr-ray doctor` for features that are no numbers, lower learning_rate, or set training.precision=f32"


class TrainingConfig(Settings):
    """How the networks of a round learn. Labels that decide anything are bought: those of the train split, or those of the validation split too.

    `cross_fit` holds bought labels out in turn for early stopping of stage 1 and calibration; stage 2 then takes a fixed number of epochs,
    because mAP of a few held-out pairs says little. `split` looks at the validation split in both stages; its labels count as bought.

    With `warm_start` both stages begin from the weights of the round before. Networks that hold bought labels out (`cross_fit`) start cold
    all the same, because the networks of the round before have seen those labels.
    """

    label_predictor: LabelPredictorSettings = LabelPredictorSettings()
    targets: TargetSettings = TargetSettings()
    common_space: CommonSpaceSettings = CommonSpaceSettings()
    heads: HeadSettings = HeadSettings()
    use_predicted: bool = Field(default=True, description="false: stage 2 learns from bought labels only")
    validation: Literal["cross_fit", "split"] = Field(default="cross_fit", description="what early stopping and calibration look at")
    precision: Precision = Field(default="auto", description="matrix products; auto: bf16 where the hardware has it")
    checkpoint_every: int | None = Field(default=None, ge=1, description="epochs of stage 2 between checkpoints; None: a quarter of them")
    warm_start: bool = Field(default=False, description="begin from the weights of the round before instead of fresh ones")


class Checkpoints(Protocol):
    """Where the state of an unfinished fit lies. Every rank calls both."""

    def latest(self) -> dict[str, Any] | None:
        """The last saved state, None at the start of a fit."""

    def save(self, state: dict[str, Any]) -> None:
        """Save a state; a barrier."""


@dataclass(frozen=True)
class RoundFit:
    """The networks, the numbers of every check and epoch of this process (those before an interruption are not repeated), and a summary."""

    networks: RoundNetworks
    history: tuple[dict[str, float], ...]
    summary: Mapping[str, float | int | str | bool]


def fit_round(
    config: TrainingConfig,
    *,
    corpus: PairedCorpus,
    bought: LabelSet,
    rows: Rows,
    ranks: Ranks,
    device: torch.device,
    seed: int,
    round_index: int,
    validation: LabelSet | None = None,
    checkpoints: Checkpoints | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    previous: RoundNetworks | None = None,
    heads: bool = False,
) -> RoundFit:
    """Fit both networks on what was bought; an interrupted fit goes on from its checkpoint and ends with the same weights.

    With `heads` the Gaussian heads are fitted on the finished common space, without a checkpoint. Every rank calls this with the same arguments
    except `rows` and `ranks`. Torch's random state is left as it was. `previous`, the round before, is looked at with `config.warm_start` alone.

    Raises:
        LedgerError: nothing was bought, or an id is not in its split.
        ConfigError: `validation: split` without labels of the validation split.
        TrainingError: a loss or a weight became NaN or infinite.
        CheckpointError: the saved state, or the networks of the round before, do not fit this configuration.
        ResourceError: a batch does not fit the device's memory; a smaller one would be another result, so that is for the user to say.
    """
    _check_labels(config, bought, validation)
    context = _context(config, corpus, ranks=ranks, device=device, seed=seed, round_index=round_index)
    fit = _Fit(config, corpus, context, checkpoints, on_epoch, previous if config.warm_start else None)
    with _memory_told(device):
        labelled = fit.labelled(bought, "train")
        held_out = fit.labelled(validation, "validation") if config.validation == "split" and validation is not None else None
        state = fit.load()
        predictor, stage_1 = fit.stage_1(labelled, held_out, state, rows=rows)
        space, epochs = fit.stage_2(predictor, labelled, bought, rows=rows, held_out=held_out, stage_1=stage_1, state=state)
        gaussian = fit.heads(space) if heads else None
    summary = {**stage_1["numbers"], **epochs, "precision": fit.context.precision, "num_bought": len(bought), **_told(gaussian)}
    return RoundFit(RoundNetworks(predictor, space, gaussian).eval(), tuple(fit.history), summary)


def _told(heads: GaussianHeads | None) -> dict[str, float]:
    return {} if heads is None else {"heads_slope": float(heads.slope.detach()), "heads_offset": float(heads.offset.detach())}


@contextmanager
def _memory_told(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"training: a batch does not fit the memory of {device} ({error}); lower training.label_predictor.batch_size and "
            "training.common_space.batch_size, or take a device with more memory"
        ) from error


def _check_labels(config: TrainingConfig, bought: LabelSet, validation: LabelSet | None) -> None:
    if len(bought) == 0:
        raise LedgerError("no labels were bought: training needs at least one labelled pair; check budget.seed_pairs")
    if config.validation == "split" and not validation:
        raise ConfigError("training.validation is 'split', but there are no labels of a validation split; use cross_fit")


def _context(config: TrainingConfig, corpus: PairedCorpus, *, ranks: Ranks, device: torch.device, seed: int, round_index: int) -> FitContext:
    schema = corpus.schema
    dims = NetworkDims(image_dim=schema.image_dim, text_dim=schema.text_dim, num_classes=schema.num_classes, multi_label=schema.multi_label)
    return FitContext(dims, corpus.statistics(), ranks, device, choose_precision(config.precision, device), seed, round_index)


class _Fit:
    """The steps of one fit, and what they share."""

    def __init__(
        self,
        config: TrainingConfig,
        corpus: PairedCorpus,
        context: FitContext,
        checkpoints: Checkpoints | None,
        on_epoch: Callable[[dict[str, float]], None] | None,
        previous: RoundNetworks | None,
    ) -> None:
        self.config, self.corpus, self.context, self.previous = config, corpus, context, previous
        self._checkpoints, self._on_epoch = checkpoints, on_epoch
        self.history: list[dict[str, float]] = []

    def labelled(self, labels: LabelSet, split: Split) -> Labelled:
        """Rows of a split whose labels are known."""
        context = self.context
        rows = gather_pairs(self.corpus, labels.pair_ids_L, split=split, ranks=context.ranks, seed=context.seed)
        return Labelled(rows, torch.from_numpy(labels.dense(rows.pair_ids_N, num_classes=context.dims.num_classes)))

    def load(self) -> State | None:
        """The state of an interrupted fit."""
        return None if self._checkpoints is None else self._checkpoints.latest()

    def tell(self, numbers: dict[str, float]) -> None:
        """Keep and report the numbers of a check or an epoch; raises `TrainingError` if the loss is not finite."""
        if not math.isfinite(numbers.get("loss", 0.0)):
            raise TrainingError(f"{numbers}: the loss is not finite; {_ADVICE}")
        self.history.append(numbers)
        if self._on_epoch is not None:
            self._on_epoch(numbers)

    def stage_1(self, labelled: Labelled, held_out: Labelled | None, state: State | None, *, rows: Rows) -> tuple[LabelPredictor, State]:
        """The label predictor, fitted or restored, and the part of the state that restores it."""
        if state is not None:
            return self._restored(self.config.label_predictor.network.build, state["stage_1"]["weights"]), state["stage_1"]
        previous = None if self.previous is None else self.previous.label_predictor
        fit = fit_label_predictor(
            self.config.label_predictor, labelled, self.context, validation=held_out, on_check=self.tell, unlabelled=rows, previous=previous
        )
        _require_finite(fit.network, "stage 1")
        numbers = self._numbers_of(fit)
        thresholds_C = None
        if fit.held_out_BC is not None and fit.held_out_labels_BC is not None:
            thresholds_C = prior_thresholds(fit.held_out_BC, fit.held_out_labels_BC)
        stage_1 = {"weights": fit.network.state_dict(), "numbers": numbers, "thresholds_C": thresholds_C}
        if self._checkpoints is not None:
            self._checkpoints.save({"stage_1": stage_1})
        log.info("step=label_predictor bought=%d %s", len(labelled), " ".join(f"{name}={value:.4g}" for name, value in numbers.items()))
        return fit.network, stage_1

    def _numbers_of(self, fit: PredictorFit) -> dict[str, float | int]:
        """What the summary says of stage 1; `open_set_entropy` is what stage 2 looks at."""
        numbers: dict[str, float | int] = {"label_predictor_steps": fit.steps}
        if fit.calibration is not None:
            image, text, joint = fit.calibration.temperature_3.tolist()
            numbers |= {"held_out_log_loss": fit.calibration.log_loss, "fusion_weight": fit.calibration.fusion_weight}
            numbers |= {"temperature_image": image, "temperature_text": text, "temperature_joint": joint}
        if self.config.targets.open_set:
            numbers["open_set"] = fit.held_out_BC is not None
            if fit.held_out_BC is not None:
                limit = entropy_limit(fit.held_out_BC, self.config.targets.open_set_quantile, multi_label=self.context.dims.multi_label)
                numbers["open_set_entropy"] = float(self.context.ranks.first(torch.tensor(limit, dtype=torch.float64)))
        return numbers

    def _restored(self, build: Callable[[NetworkDims], Network], weights: dict[str, torch.Tensor]) -> Network:
        with torch.random.fork_rng(devices=[]):
            network = build(self.context.dims)
        try:
            network.load_state_dict(weights)
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"the saved state of this fit does not fit its configuration ({error}); remove it to start the fit again"
            ) from error
        return network.to(self.context.device).eval()

    def stage_2(
        self,
        predictor: LabelPredictor,
        labelled: Labelled,
        bought: LabelSet,
        *,
        rows: Rows,
        held_out: Labelled | None,
        stage_1: State,
        state: State | None,
    ) -> tuple[CommonSpace, dict[str, int]]:
        """The common space, and the number of epochs of each fit."""
        settings, context, num_pairs = self.config.targets, self.context, self.corpus.num_pairs("train")
        saved: State = {"stage_1": stage_1, "teacher": None, "stage_2": None} | (state or {})
        if not self.config.use_predicted:
            space, epochs = self._space("common_space", Known(labelled.labels_LC), labelled.rows, len(labelled), held_out, saved)
            return space, {"epochs": epochs}
        near = sample_neighbours(settings, self.corpus, predictor, bought, context)
        told = {"thresholds_C": stage_1["thresholds_C"], "entropy_limit": stage_1["numbers"].get("open_set_entropy")}
        predicted = Predicted(predictor, settings, bought, context, **told, neighbours=near)
        predicted.remember(rows)
        numbers: dict[str, int] = {}
        if settings.distil and len(bought) < num_pairs:
            if saved["teacher"] is None:
                teacher, epochs = self._space("teacher", predicted, rows, num_pairs, held_out, saved)
                saved |= {"teacher": {"weights": teacher.state_dict(), "epochs": epochs}, "stage_2": None}
                if self._checkpoints is not None:
                    self._checkpoints.save(saved)
            teacher = self._restored(self.config.common_space.network.build, saved["teacher"]["weights"])
            predicted.follow(teacher, rows)
            numbers["teacher_epochs"] = saved["teacher"]["epochs"]
        space, epochs = self._space("common_space", predicted, rows, num_pairs, held_out, saved)
        return space, numbers | {"epochs": epochs}

    def _space(
        self,
        name: Literal["teacher", "common_space"],
        targets: Callable[[RowBatch], Targets],
        rows: Rows,
        num_rows: int,
        held_out: Labelled | None,
        saved: State,
    ) -> tuple[CommonSpace, int]:
        """One fit of stage 2, from `saved["stage_2"]` where that is not None, and the number of its epochs."""
        previous = None if self.previous is None else self.previous.common_space
        fit = SpaceFit(self.config.common_space, self.context, num_rows=num_rows, previous=previous, name=name)
        if saved["stage_2"] is not None:
            fit.restore(saved["stage_2"])
        every = self.config.checkpoint_every or max(1, fit.num_epochs // _SAVES)
        validate = None if held_out is None else _validator(held_out, self.context)
        which = {"teacher": 1.0} if name == "teacher" else {}
        space = fit.run(rows, targets, SpaceHooks(lambda numbers: self.tell(numbers | which), self._saver(saved), every, validate))
        _require_finite(space, "stage 2")
        return space, fit.epochs_run

    def heads(self, space: CommonSpace) -> GaussianHeads:
        """Gaussian heads on the finished common space."""
        previous = None if self.previous is None else self.previous.heads
        heads = fit_heads(self.config.heads, self.corpus, space, self.context, on_epoch=self.tell, previous=previous)
        _require_finite(heads, "the Gaussian heads")
        return heads

    def _saver(self, saved: State) -> Callable[[State], None] | None:
        checkpoints = self._checkpoints
        return None if checkpoints is None else lambda stage_2: checkpoints.save(saved | {"stage_2": stage_2})


def _require_finite(network: LabelPredictor | CommonSpace | GaussianHeads, stage: str) -> None:
    for name, weights in network.named_parameters():
        if not bool(torch.isfinite(weights).all()):
            raise TrainingError(f"{stage}: weights {name!r} are not finite after training; {_ADVICE}")


def _validator(held_out: Labelled, context: FitContext) -> Callable[[CommonSpace], float]:
    rows: HeldRows = held_out.rows

    @torch.inference_mode()
    def validate(space: CommonSpace) -> float:
        _, _, image_NC, text_NC = space.embed(rows.image_NI.to(context.device), rows.text_NT.to(context.device))
        spaces = (image_NC.float().cpu().numpy(), text_NC.float().cpu().numpy())
        labels_NC = held_out.labels_LC.numpy().astype(np.uint8)
        return evaluate(*spaces, pair_ids=rows.pair_ids_N, labels_NC=labels_NC).map_mean

    return validate
