"""What a report shows."""

from typing import Literal

from pydantic import Field

from xmr_ray.component import Settings


class ReportSettings(Settings):
    """How much a report shows and what it compares with; none of it changes results."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of the intervals over seeds."""
    shares: tuple[float, ...] = (0.9, 0.95)
    """Shares of full supervision for which the labels needed are told."""
    full_arm: str = "full"
    """The arm that was given every label."""
    baseline: str = "random"
    """The arm that the others are compared with."""
    label_axis: Literal["auto", "linear", "log"] = "auto"
    """Scale of the labels' axis; `auto` is logarithmic from a ratio of 10 between the most and the fewest labels."""
    bought_per_round: int = Field(default=12, ge=0)
    """Pairs shown of each purchase."""
    num_queries: int = Field(default=6, ge=0)
    """Test queries shown in each direction."""
    split: Literal["test", "validation"] = "test"
    """Pairs that measured."""
    num_retrieved: int = Field(default=6, ge=1)
    """Items of the gallery shown for each query."""
