"""What the loop needs done, whoever does it: Ray in `cluster/`, a fake in the tests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from xmr_ray.runs.directory import RoundDirectory
from xmr_ray.strategies.strategy import FeatureStrategy
from xmr_ray.types import Ids, LabelSet, RetrievalReport, ScoreBlock, Selection, TrainedNetworks

T = TypeVar("T")


class Engine(Protocol):
    """Performs the heavy steps of a round; every step writes below the round's folder and may be done twice without harm."""

    def choose_by_features(self, strategy: FeatureStrategy, *, bought: Ids, n: int, seed: int, round_index: int) -> Selection:
        """A purchase from features alone: the strategy is given those of a bounded candidate set and of bought pairs."""

    def train(self, place: RoundDirectory, *, bought: LabelSet, seed: int) -> None:
        """Fit both networks on what was bought: numbers worth keeping go to `place.training`, then the networks to `place.networks`."""

    def score_pool(self, place: RoundDirectory, networks: TrainedNetworks) -> None:
        """Score every train pair with these networks into `place`: one file a descriptor."""

    def fit_cells(self, place: RoundDirectory, networks: TrainedNetworks, *, num_labels: int, seed: int) -> None:
        """Divide the scored train pairs into cells and give every pair its own; `num_labels` will be bought when this purchase is closed."""

    def find_neighbours(self, place: RoundDirectory, networks: TrainedNetworks, *, seed: int) -> None:
        """The local density of every scored train pair."""

    def reduce_scores(
        self, place: RoundDirectory | None, columns: Sequence[str], function: Callable[[ScoreBlock], T], merge: Callable[[Sequence[T]], T]
    ) -> T:
        """Map a pure function over the score blocks in `place` and merge in descriptor order; without `place`, blocks hold ids alone."""

    def describe_purchase(self, scored: RoundDirectory, place: RoundDirectory, *, selection: Selection, bought: LabelSet, seed: int) -> None:
        """Write how the purchase in `place` lies among all train pairs: `place.diagnostics` and `place.space`."""

    def evaluate(self, place: RoundDirectory, networks: TrainedNetworks, *, held_out: LabelSet | None = None) -> Mapping[str, RetrievalReport]:
        """Retrieval by space: on the split that measures, or where it has no truth, own pairs of that split and mAP among the pairs held out."""
