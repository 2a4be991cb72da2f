"""The pairs whose predicted labels are least certain, by entropy."""

from typing import Literal

from xmr_ray.strategies.strategy import Plan, Strategy, Utility
from xmr_ray.types import ScoreBlock


class Entropy(Strategy):
    """Highest label entropy first: over classes (single-label), or the mean of the classes' own entropies (multi-label)."""

    kind: Literal["entropy"] = "entropy"

    @property
    def needs(self) -> tuple[str, ...]:
        """The column `entropy`."""
        return ("entropy",)

    def utility(self, block: ScoreBlock, plan: Plan) -> Utility:  # noqa: ARG002 the same in every round
        """The column as it is."""
        return block.columns["entropy"]
