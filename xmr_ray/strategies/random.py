"""Pairs at random: the arm that every other strategy has to beat."""

from typing import Literal

from xmr_ray.geometry.hashing import unit_hash
from xmr_ray.strategies.strategy import Plan, Strategy, Utility
from xmr_ray.types import ScoreBlock


class Random(Strategy):
    """Every pair of the pool is equally likely; the draw is a hash, so it needs no network and no communication."""

    kind: Literal["random"] = "random"

    def utility(self, block: ScoreBlock, plan: Plan) -> Utility:
        """The hash of (seed, round, `pair_id`), in [0, 1)."""
        return unit_hash(block.pair_ids_B, seed=plan.seed, round_index=plan.round_index, purpose="random")
