"""Fit the Gaussian heads on embeddings of a bounded sample of train pairs, without labels ([method] B1.2)."""

import logging
import math
from collections.abc import Callable, Iterator

import torch
from pydantic import Field
from torch.nn import functional

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.geometry.hashing import hash_sample
from xmr_ray.losses import AnyMatchLoss, ClosedFormMatch, GaussianRows, match_logits, pair_likelihood, variance_prior, wasserstein
from xmr_ray.networks import AnyHeads, CommonSpace, GaussianHeads, ResidualHeads
from xmr_ray.networks.match import PairGaussians
from xmr_ray.training.bought import gather_pairs
from xmr_ray.training.label_predictor import BLOCK, FitContext
from xmr_ray.training.randomness import generator, seeded
from xmr_ray.training.rows import HeldRows
from xmr_ray.training.stepper import OptimiserSettings, one_cycle
from xmr_ray.training.warm_start import start_from

log = logging.getLogger(__name__)
_LOGIT_RATE = 10.0
_LOGIT_PULL = 1e-3


class HeadSettings(OptimiserSettings):
    """How the Gaussian heads learn: which text belongs to which image, and how far apart the two of a pair are."""

    network: AnyHeads = ResidualHeads()
    loss: AnyMatchLoss = ClosedFormMatch()
    sample: int = Field(default=8192, ge=2, description="most train pairs to learn from, chosen by hash")
    steps: int = Field(default=300, ge=1, description="optimiser steps")
    prior_weight: float = Field(default=1e-3, ge=0, description="weight of the variances' divergence from 1/D")
    wasserstein_weight: float = Field(default=0.1, ge=0, description="weight of the 2-Wasserstein distance of a pair")
    likelihood_weight: float = Field(
        default=0.3, ge=0, description="weight of the likelihood of a pair's difference, which teaches variances; 0: the match loss alone"
    )


def fit_heads(
    settings: HeadSettings,
    corpus: PairedCorpus,
    common_space: CommonSpace,
    context: FitContext,
    *,
    on_epoch: Callable[[dict[str, float]], None],
    previous: GaussianHeads | None = None,
) -> GaussianHeads:
    """Heads for a common space, in evaluation mode; the space itself does not change.

    Every rank holds the same sample and takes the same steps, in f32, so any number of ranks gives the same heads. They start from the
    weights of `previous` where it is given.

    Raises:
        CheckpointError: the weights of `previous` do not fit.
    """
    ids = hash_sample(corpus.pair_ids("train"), size=settings.sample, seed=context.seed, round_index=context.round_index, purpose="heads")
    rows = gather_pairs(corpus, ids, split="train", ranks=context.ranks, seed=context.seed)
    image_ND, text_ND = _embed(rows, common_space, context)
    return fit_on_embeddings(settings, image_ND, text_ND, context, on_epoch=on_epoch, previous=previous)


def fit_on_embeddings(
    settings: HeadSettings,
    image_ND: torch.Tensor,
    text_ND: torch.Tensor,
    context: FitContext,
    *,
    on_epoch: Callable[[dict[str, float]], None],
    previous: GaussianHeads | None = None,
) -> GaussianHeads:
    """Heads learnt from unit embeddings (N, D) of pairs on the context's device; what `fit_heads` says of them holds here."""
    with seeded(context.device, *context.key("heads")):
        heads = settings.network.build(image_ND.shape[1]).to(context.device)
        heads.set_centres(image_ND, text_ND)
        if previous is None:
            _start_logits(heads.eval(), image_ND[: settings.batch_size], text_ND[: settings.batch_size])
        else:
            start_from(heads, previous)
        heads.train()
        logits = [heads.log_slope, heads.offset]
        others = [parameter for name, parameter in heads.named_parameters() if name not in {"log_slope", "offset"}]
        # Two scalars have further to go than any weight, and no reason to be small.
        groups = [{"params": others, "rate": 1.0}, {"params": logits, "rate": _LOGIT_RATE, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
        draws = generator(*context.key("heads", "draws"))
        told = max(1, settings.steps // 10)
        for step, at in zip(range(settings.steps), _batches(len(image_ND), settings.batch_size, context), strict=False):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * group["rate"] * one_cycle(step / settings.steps)
            terms = _terms(settings, heads, image_ND[at], text_ND[at], draws)
            optimiser.zero_grad(set_to_none=True)
            torch.stack([weight * value for weight, value in terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if (step + 1) % told == 0 or step + 1 == settings.steps:
                on_epoch({"stage": 3, "step": step + 1, **{name: float(value.detach()) for name, (_, value) in terms.items()}})
    log.info("step=heads pairs=%d slope=%.3g offset=%.3g", len(image_ND), float(heads.slope.detach()), float(heads.offset.detach()))
    return heads.eval()


def _terms(
    settings: HeadSettings, heads: GaussianHeads, image_BD: torch.Tensor, text_BD: torch.Tensor, draws: torch.Generator
) -> dict[str, tuple[float, torch.Tensor]]:
    rows = _rows(heads(image_BD, text_BD), heads.slope, heads.offset)
    return {
        "match": (1.0, settings.loss.value(rows, draws)),
        "prior": (settings.prior_weight, variance_prior(rows)),
        "wasserstein": (settings.wasserstein_weight, wasserstein(rows)),
        "likelihood": (settings.likelihood_weight, pair_likelihood(rows)),
    }


def _rows(pair: PairGaussians, slope: torch.Tensor, offset: torch.Tensor) -> GaussianRows:
    return GaussianRows(pair.image_mean_BD, pair.image_variance_BD, pair.text_mean_BD, pair.text_variance_BD, slope, offset)


def _start_logits(heads: GaussianHeads, image_BD: torch.Tensor, text_BD: torch.Tensor) -> None:
    """Set slope and offset by logistic regression on one batch, so that the first logits say what the embeddings know.

    A weak pull towards their present values keeps them finite where the batch is separable, or its embeddings all alike.
    """
    with torch.no_grad():
        unit = _rows(heads(image_BD, text_BD), torch.ones_like(heads.offset), torch.zeros_like(heads.offset))
        distance_BB = -match_logits(unit).double().cpu()
    start = torch.stack([heads.log_slope.detach(), heads.offset.detach()]).double().cpu()
    now = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([now], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits_BB = now[1] - now[0].exp() * distance_BB
        pull = _LOGIT_PULL * (now - start).square().sum()
        loss = (functional.softplus(logits_BB).sum() - logits_BB.diagonal().sum()) / len(logits_BB) + pull
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = now.detach().float()
    with torch.no_grad():
        heads.log_slope.copy_(found[0])
        heads.offset.copy_(found[1])


def _batches(num_rows: int, batch_size: int, context: FitContext) -> Iterator[torch.Tensor]:
    """Positions of batches of nearly equal size, epoch after epoch."""
    epoch = 0
    while True:
        order = torch.randperm(num_rows, generator=generator(*context.key("heads", "rows", epoch)))
        yield from torch.tensor_split(order, math.ceil(num_rows / batch_size))
        epoch += 1


@torch.no_grad()
def _embed(rows: HeldRows, common_space: CommonSpace, context: FitContext) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit embeddings (N, D) of both modalities on the context's device, without dropout."""
    training = common_space.training
    common_space.eval()
    parts = []
    for batch in rows.blocks(BLOCK):
        parts.append(common_space.embed(batch.image_BI.to(context.device), batch.text_BT.to(context.device))[:2])
    common_space.train(training)
    image_ND, text_ND = (torch.cat(side).float() for side in zip(*parts, strict=True))
    return image_ND, text_ND
