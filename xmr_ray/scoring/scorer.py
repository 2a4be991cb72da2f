"""Scoring pairs with a round's networks; the score of a pair does not depend on its neighbours in the batch."""

import numpy as np
import torch

from xmr_ray.networks.fitting import FittingBatches
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.scoring.informativeness import IMAGE_SHARE, GaussianScores, score_gaussians
from xmr_ray.scoring.outputs import EMBEDDINGS, FUSED_MEAN, ScoredPairs
from xmr_ray.scoring.uncertainty import MEASURES
from xmr_ray.types import Floats, PairBatch, ScoreBlock


class PairScorer:
    """Holds the networks of a round on one device and runs batches of pairs through them."""

    def __init__(self, networks: RoundNetworks, *, multi_label: bool, batch_size: int, device: torch.device) -> None:
        self._networks = networks.to(device).eval()
        self._multi_label, self._device = multi_label, device
        self._batches = FittingBatches(batch_size, device, step="score")

    def score(self, batch: PairBatch) -> ScoredPairs:
        """Every measure, the label probabilities of stage 1, and both towers' embeddings and class probabilities.

        `class` is the entropy of the labels under the name that it has as a part of informativeness. Networks with Gaussian heads add the
        other parts, `intra` and `inter`, the image's share of the variance inside the modalities, and the mean of the fused Gaussian.

        Raises:
            StrategyError: a score is not finite; the pair is named.
            ResourceError: one single pair does not fit the device's memory; a batch that does not is halved, and stays halved.
        """
        parts = self._batches.run(lambda rows: self._forward(*self._tensors(batch, rows)), len(batch))
        probabilities_BC = np.concatenate([part[0] for part in parts])
        towers = {name: np.concatenate([part[1][i] for part in parts]) for i, name in enumerate(EMBEDDINGS)}
        columns = {name: measure(probabilities_BC, multi_label=self._multi_label) for name, measure in MEASURES.items()}
        columns["class"] = columns["entropy"]
        gaussians = [part[2] for part in parts if part[2] is not None]
        if gaussians:
            intra_B, inter_B, image_share_B, towers[FUSED_MEAN] = (np.concatenate(values) for values in zip(*gaussians, strict=True))
            columns |= {"intra": intra_B, "inter": inter_B, IMAGE_SHARE: image_share_B}
        return ScoredPairs(ScoreBlock(batch.pair_ids_B, columns), probabilities_BC, towers)

    def _tensors(self, batch: PairBatch, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tensor(batch.image_BI[rows], batch.image_dtype), self._tensor(batch.text_BT[rows], batch.text_dtype)

    def _tensor(self, stored: np.ndarray, dtype: str) -> torch.Tensor:
        # The copy makes the read-only view of the file writable, as torch asks; it travels to the device in its storage type.
        raw = torch.from_numpy(np.array(stored.view(np.int16) if dtype == "bf16" else stored))
        raw = raw.view(torch.bfloat16) if dtype == "bf16" else raw
        return raw.to(self._device, non_blocking=True).float()

    @torch.inference_mode()
    def _forward(self, image_BI: torch.Tensor, text_BT: torch.Tensor) -> tuple[Floats, tuple[Floats, ...], GaussianScores | None]:
        probabilities_BC = self._networks.label_predictor.probabilities(image_BI, text_BT)
        towers = self._networks.common_space.embed(image_BI, text_BT)
        heads = self._networks.heads
        gaussians = None if heads is None else score_gaussians(heads, towers[0].float(), towers[1].float())
        return probabilities_BC.float().cpu().numpy(), tuple(value.float().cpu().numpy() for value in towers), gaussians
