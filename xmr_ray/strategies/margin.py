"""The pairs that lie closest to a decision between labels."""

from typing import Literal

from xmr_ray.strategies.strategy import Plan, Strategy, Utility
from xmr_ray.types import ScoreBlock


class Margin(Strategy):
    """Smallest margin first; the column holds its negative, since higher means more worth labelling everywhere."""

    kind: Literal["margin"] = "margin"

    @property
    def needs(self) -> tuple[str, ...]:
        """The column `margin`."""
        return ("margin",)

    def utility(self, block: ScoreBlock, plan: Plan) -> Utility:  # noqa: ARG002 the same in every round
        """The column as it is."""
        return block.columns["margin"]
