"""What the loop needs done, whoever does it: Ray in `cluster/`, a fake in the tests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from xmr_ray.runs.directory import RoundDirectory
from xmr_ray.strategies import SeedStrategy
from xmr_ray.types import LabelSet, RetrievalReport, ScoreBlock, Selection, TrainedNetworks

T = TypeVar("T")


class Engine(Protocol):
    """Performs the heavy steps of a round; every step writes below the round's folder and may be done twice without harm."""

    def choose_seed_pairs(self, strategy: SeedStrategy, *, n: int, seed: int) -> Selection:
        """The first purchase, from features alone."""

    def train(self, place: RoundDirectory, *, bought: LabelSet, seed: int) -> None:
        """Fit both networks on what was bought: numbers worth keeping go to `place.training`, then the networks to `place.networks`."""

    def score_pool(self, place: RoundDirectory, networks: TrainedNetworks) -> None:
        """Score every train pair with these networks into `place`: one file a descriptor."""

    def reduce_scores(
        self, place: RoundDirectory | None, columns: Sequence[str], function: Callable[[ScoreBlock], T], merge: Callable[[Sequence[T]], T]
    ) -> T:
        """Map a pure function over the score blocks in `place` and merge in descriptor order; without `place`, blocks hold ids alone."""

    def evaluate(self, place: RoundDirectory, networks: TrainedNetworks) -> Mapping[str, RetrievalReport]:
        """Retrieval on the test split, by space."""
