"""Which pairs to buy: functions of scores and summaries; the unions here are the registries."""

from typing import Annotated

from pydantic import Field

from xmr_ray.strategies.ascmr import Ascmr
from xmr_ray.strategies.entropy import Entropy
from xmr_ray.strategies.margin import Margin
from xmr_ray.strategies.random import Random
from xmr_ray.strategies.typical import Typical

AnyStrategy = Annotated[Random | Entropy | Margin | Ascmr | Typical, Field(discriminator="kind")]
SeedStrategy = Annotated[Typical | Random, Field(discriminator="kind")]

__all__ = ["AnyStrategy", "SeedStrategy"]
