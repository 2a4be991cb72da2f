"""Predicted labels averaged with those of the nearest pairs: what lies close together has similar labels, which stage 1 alone does not know.

Neighbours are looked for among a bounded sample of the train pairs, drawn by hash, in the features of both modalities. So the cost of a pair
does not grow with the pool, every rank finds the same, and streamed rows need no search beforehand. Source: [LabelPropagation]; one step
of it, from calibrated predictions instead of bought labels alone, is ours.
"""

import numpy as np
import torch

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.geometry.features import feature_points
from xmr_ray.geometry.hashing import hash_sample
from xmr_ray.networks import LabelPredictor
from xmr_ray.training.bought import gather_pairs
from xmr_ray.training.label_predictor import BLOCK, FitContext, predict_logits
from xmr_ray.training.rows import HeldRows, RowBatch
from xmr_ray.training.targets import TargetSettings
from xmr_ray.types import FeatureStatistics, LabelSet

COMPONENTS = 256


class NeighbourMean:
    """Mean of a prediction and the mean prediction of its nearest sampled pairs.

    `sample_SC` are the probabilities of the sampled rows, in order of their ids, with bought labels in place of predictions. A pair is no
    neighbour of its own. Where the sample holds fewer others than are asked for, all of them are neighbours; without any, a prediction stays.
    """

    def __init__(
        self, sample: HeldRows, sample_SC: torch.Tensor, statistics: FeatureStatistics, *, neighbours: int, weight: float, device: torch.device
    ) -> None:
        self._ids_S, self._statistics, self._weight, self._device = sample.pair_ids_N, statistics, weight, device
        self._neighbours = neighbours
        self._sample_SC = sample_SC.to(device)
        self._points_SD = self._points(sample.image_NI, sample.text_NT)

    def __call__(self, batch: RowBatch, probabilities_BC: torch.Tensor) -> torch.Tensor:
        """`(1 - weight) p + weight mean(p of the neighbours)`, (B, C), on the CPU."""
        own_B = np.searchsorted(self._ids_S, batch.pair_ids_B).clip(max=len(self._ids_S) - 1)
        sampled_B = np.flatnonzero(self._ids_S[own_B] == batch.pair_ids_B)
        products_BS = self._points(batch.image_BI, batch.text_BT) @ self._points_SD.T
        products_BS[torch.from_numpy(sampled_B), torch.from_numpy(own_B[sampled_B])] = -torch.inf
        best = products_BS.topk(min(self._neighbours, len(self._ids_S)), dim=1)
        real_BK = best.values.isfinite().unsqueeze(2)
        mean_BC = (self._sample_SC[best.indices] * real_BK).sum(dim=1) / real_BK.sum(dim=1).clamp(min=1)
        mixed_BC = torch.lerp(probabilities_BC.to(self._device), mean_BC, self._weight)
        return torch.where(real_BK.any(dim=1), mixed_BC, probabilities_BC.to(self._device)).cpu()

    def _points(self, image_NI: torch.Tensor, text_NT: torch.Tensor) -> torch.Tensor:
        points_ND = feature_points(image_NI.numpy(), text_NT.numpy(), self._statistics, components=COMPONENTS)
        return torch.from_numpy(points_ND).to(self._device)


def sample_neighbours(
    settings: TargetSettings, corpus: PairedCorpus, predictor: LabelPredictor, bought: LabelSet, context: FitContext
) -> NeighbourMean | None:
    """The sampled train pairs with what is known or predicted of them, the same on every rank; None where no prediction is averaged."""
    if not settings.neighbours or settings.kind == "class_prior" or len(bought) == corpus.num_pairs("train"):
        return None
    pool, size = corpus.pair_ids("train"), settings.neighbour_sample
    ids_S = hash_sample(pool, size=size, seed=context.seed, round_index=context.round_index, purpose="neighbours")
    sample = gather_pairs(corpus, ids_S, split="train", ranks=context.ranks, seed=context.seed)
    with torch.no_grad():
        logits = predict_logits(predictor, sample.blocks(BLOCK), context)
        sample_SC = torch.cat([predictor.fuse(block).cpu() for block in logits])
    at_S = bought.positions(sample.pair_ids_N)
    known_S = torch.from_numpy(at_S >= 0)
    dense = bought.dense(sample.pair_ids_N[at_S >= 0], num_classes=context.dims.num_classes)
    sample_SC[known_S] = torch.from_numpy(dense).to(sample_SC.dtype)
    return NeighbourMean(
        sample, sample_SC, context.statistics, neighbours=settings.neighbours, weight=settings.neighbour_weight, device=context.device
    )
