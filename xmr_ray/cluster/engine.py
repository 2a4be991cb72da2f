"""The engine: performs the loop's heavy steps on Ray, one after the other, so that what they hold never adds up."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from xmr_ray.cluster.cells import fit_cells
from xmr_ray.cluster.describe import DescribeJob, bought_by_round, describe_purchase_remotely
from xmr_ray.cluster.evaluate import HeldOutJob, RankingJob, evaluate_held_out, evaluate_split, own_pairs_beside
from xmr_ray.cluster.features import choose_by_features_remotely
from xmr_ray.cluster.neighbours import find_neighbours
from xmr_ray.cluster.place import Placement, place_scoring, place_training
from xmr_ray.cluster.reduce import BlockSource, reduce_blocks
from xmr_ray.cluster.score import ScoringJob, score_split
from xmr_ray.cluster.session import Session
from xmr_ray.cluster.train import TrainJob, needs_streaming, train_round
from xmr_ray.config import Experiment, TrainingSettings
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.truth import open_truth
from xmr_ray.loop.state import networks_of
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.runs.directory import RoundDirectory, RunDirectory
from xmr_ray.strategies.ascmr import Ascmr
from xmr_ray.strategies.strategy import CELL_COLUMNS, HEAD_COLUMNS, FeatureStrategy
from xmr_ray.training.precision import choose_precision
from xmr_ray.types import EMPTY_LABELS, FeatureDtype, Ids, LabelSet, RetrievalReport, ScoreBlock, Selection, Split, TrainedNetworks

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass
class RayEngine:
    """Performs the steps of one run inside a session; `num_passes` counts Ray Data passes over the corpus."""

    session: Session
    corpus: PairedCorpus
    config: Experiment
    directory: RunDirectory
    num_passes: int = field(default=0, init=False)

    def choose_by_features(self, strategy: FeatureStrategy, *, bought: Ids, n: int, seed: int, round_index: int) -> Selection:
        """A purchase from features alone, in a task."""
        return choose_by_features_remotely(self.corpus, strategy, n=n, seed=seed, bought=bought, round_index=round_index)

    def train(self, place: RoundDirectory, *, bought: LabelSet, seed: int) -> None:
        """One fit: stage 1, predicted labels, stage 2, and the Gaussian heads if the strategy reads what they give."""
        placement = self._training_placement()
        resources = self.config.resources
        training = self._pinned(self.config.training)
        streamed = needs_streaming(self.corpus, placement, resident_mb=training.resident_mb)
        job = TrainJob(
            corpus=self.corpus,
            place=place,
            config=training,
            bought=bought,
            validation=open_truth(self.corpus, "validation") if training.validation == "split" else None,
            seed=seed,
            threads=placement.threads,
            use_gpu=resources.use_gpu,
            streamed=self.directory.choice("training.streamed", streamed),
            max_failures=resources.max_failures,
            heads=self.has_heads,
            previous=self._previous(place) if training.warm_start else None,
        )
        train_round(job, placement)

    def score_pool(self, place: RoundDirectory, networks: TrainedNetworks) -> None:
        """Score every train pair that these networks have not scored yet."""
        self._score(place, networks, split="train", dtype=self.config.scoring.embedding_dtype)

    def fit_cells(self, place: RoundDirectory, networks: TrainedNetworks, *, num_labels: int, seed: int) -> None:
        """Cells of the configured space, and the cell of every train pair."""
        scoring = self.config.scoring
        fit_cells(
            self.corpus,
            place.path,
            num_cells=scoring.cells_for(num_labels),
            sample=scoring.cell_sample,
            space=scoring.cell_space,
            seed=seed,
            round_index=place.index,
            version=networks.digest,
        )

    def find_neighbours(self, place: RoundDirectory, networks: TrainedNetworks, *, seed: int) -> None:
        """The local density of every train pair in the space of the cells; what was measured and chosen is logged."""
        chosen = find_neighbours(
            self.corpus,
            place.path,
            self.config.scoring,
            space=self.config.scoring.cell_space,
            seed=seed,
            version=networks.digest,
            cluster_cpus=self.session.cpus,
        )
        self.directory.choice("scoring.neighbours", chosen.backend)
        log.info("step=neighbours backend=%s ef=%d recall=%.4f bandwidth=%.4g", chosen.backend, chosen.ef, chosen.recall, chosen.bandwidth)

    def describe_purchase(self, scored: RoundDirectory, place: RoundDirectory, *, selection: Selection, bought: LabelSet, seed: int) -> None:
        """Numbers and a picture of a purchase, beside its selection."""
        strategy = self.config.strategy
        job = DescribeJob(
            corpus=self.corpus,
            scored_root=scored.path,
            place=place,
            selection=selection,
            receipts=bought_by_round(self.directory, before=place.index),
            bought=bought,
            seed=seed,
            weights=strategy.weights.positive() if isinstance(strategy, Ascmr) else None,
        )
        describe_purchase_remotely(job)

    def _previous(self, place: RoundDirectory) -> str | None:
        """The networks of the round before; a round whose labels nobody could tell has none."""
        earlier = networks_of(self.directory.round(place.index - 1)) if place.index else None
        return None if earlier is None else earlier.path

    @property
    def has_heads(self) -> bool:
        """Whether a fit ends with Gaussian heads: the strategy reads what they give."""
        if isinstance(self.config.strategy, FeatureStrategy):
            return False
        needs = set(self.config.strategy.needs)
        return bool(HEAD_COLUMNS & needs) or (bool(CELL_COLUMNS & needs) and self.config.scoring.cell_space == "fused")

    def reduce_scores(
        self, place: RoundDirectory | None, columns: Sequence[str], function: Callable[[ScoreBlock], T], merge: Callable[[Sequence[T]], T]
    ) -> T:
        """Map and merge over the score blocks of a round, or over ids alone."""
        return reduce_blocks(BlockSource(self.corpus, place.path if place else None, tuple(columns)), function, merge)

    def evaluate(self, place: RoundDirectory, networks: TrainedNetworks, *, held_out: LabelSet | None = None) -> Mapping[str, RetrievalReport]:
        """Embed the split that measures and rank it in both directions; without its truth, mAP comes from the pairs held out."""
        split = self.config.evaluation.split
        if held_out is None:
            return self._rank(place, networks, split, open_truth(self.corpus, split))
        job = HeldOutJob(self.corpus, networks, held_out, batch_size=self.config.scoring.batch_size, threads=1)
        found = evaluate_held_out(job)
        if not self.corpus.num_pairs(split):
            return found
        return own_pairs_beside(found, self._rank(place, networks, split, EMPTY_LABELS))

    def _rank(self, place: RoundDirectory, networks: TrainedNetworks, split: Split, labels: LabelSet) -> Mapping[str, RetrievalReport]:
        self._score(place, networks, split=split, dtype="f32")
        gallery, num_classes = self.corpus.descriptors(split), self.corpus.schema.num_classes
        return evaluate_split(RankingJob(root=place.path, gallery=gallery, labels=labels, num_classes=num_classes, threads=1))

    def _score(self, place: RoundDirectory, networks: TrainedNetworks, *, split: Split, dtype: FeatureDtype) -> None:
        RoundNetworks.load(networks.path)  # what cannot be read is told here, before any actor starts
        placement = place_scoring(self.session, self.config.scoring, self.config.resources, num_pairs=self.corpus.num_pairs(split))
        job = self._scoring_job(place, networks, split=split, dtype=dtype, threads=placement.threads)
        score_split(job, self.corpus.descriptors(split), placement)
        self.num_passes += 1

    def _scoring_job(self, place: RoundDirectory, networks: TrainedNetworks, *, split: Split, dtype: FeatureDtype, threads: int) -> ScoringJob:
        return ScoringJob(
            corpus_path=self.corpus.path,
            split=split,
            networks=networks,
            output=place.path,
            batch_size=self.config.scoring.batch_size,
            dtype=dtype,
            threads=threads,
            use_gpu=self.config.resources.use_gpu,
        )

    def _pinned(self, training: TrainingSettings) -> TrainingSettings:
        """Settings whose automatic precision is that of the run's first fit; a driver without GPUs leaves it to GPU workers."""
        if self.config.resources.use_gpu and not torch.cuda.is_available():
            return training
        device = torch.device("cuda" if self.config.resources.use_gpu else "cpu")
        precision = self.directory.choice("training.precision", choose_precision(training.precision, device))
        return training.model_copy(update={"precision": precision})

    def _training_placement(self) -> Placement:
        chosen = place_training(self.session, self.config.training, self.config.resources)
        if self.config.training.num_workers != "auto":
            return chosen
        count = int(self.directory.choice("training.num_workers", chosen.count))
        if count == chosen.count:
            return chosen
        return place_training(self.session, self.config.training.model_copy(update={"num_workers": count}), self.config.resources)
