"""What a setting may be while it is searched for: a stretch of numbers or a list of values."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from xmr_ray.component import Component


class Dimension(Component, ABC):
    """One setting that is searched for; every value that comes out is one that YAML and JSON can hold."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Any:
        """One value, at random."""

    @abstractmethod
    def grid(self) -> list[Any]:
        """The values that a grid tries, in order."""

    def ends(self) -> list[Any]:
        """The values that must suit the configuration for all others to do so, as far as one can tell."""
        return self.grid()


class _Stretch(Dimension):
    low: float = Field(allow_inf_nan=False, description="lowest value")
    high: float = Field(allow_inf_nan=False, description="highest value")
    points: int = Field(default=3, ge=2, description="values that algorithm 'grid' tries")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}; expected low below high")
        return self

    def ends(self) -> list[Any]:
        return [self.low, self.high]


class Uniform(_Stretch):
    """Any number of a stretch, all equally likely.

    >>> Uniform(low=0, high=1).grid()
    [0.0, 0.5, 1.0]
    """

    kind: Literal["uniform"] = "uniform"

    def draw(self, rng: np.random.Generator) -> float:
        """One number."""
        return float(rng.uniform(self.low, self.high))

    def grid(self) -> list[float]:
        """Numbers at equal distances, the ends among them."""
        return [float(value) for value in np.linspace(self.low, self.high, self.points)]


class LogUniform(_Stretch):
    """Any number of a stretch above 0, its logarithm uniform.

    >>> LogUniform(low=1, high=100).grid()
    [1.0, 10.0, 100.0]
    """

    kind: Literal["log_uniform"] = "log_uniform"
    low: float = Field(gt=0, allow_inf_nan=False, description="lowest value")

    def draw(self, rng: np.random.Generator) -> float:
        """One number."""
        return min(max(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), self.low), self.high)

    def grid(self) -> list[float]:
        """Numbers at equal ratios, the ends among them."""
        return [float(f"{value:.12g}") for value in np.geomspace(self.low, self.high, self.points)]


class Integer(Dimension):
    """Any whole number from `low` to `high`, both included; with `log`, small ones as often as large ones by ratio.

    >>> Integer(low=1, high=9).grid(), Integer(low=1, high=100, log=True).grid(), Integer(low=1, high=2).grid()
    ([1, 5, 9], [1, 10, 100], [1, 2])
    """

    kind: Literal["int"] = "int"
    low: int = Field(description="lowest value")
    high: int = Field(description="highest value")
    log: bool = Field(default=False, description="by ratio instead of by difference")
    points: int = Field(default=3, ge=2, description="values that algorithm 'grid' tries")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high or (self.log and self.low < 1):
            raise ValueError(f"low is {self.low} and high is {self.high}; expected low below high, and low at least 1 with log")
        return self

    def draw(self, rng: np.random.Generator) -> int:
        """One number."""
        if not self.log:
            return int(rng.integers(self.low, self.high, endpoint=True))
        return min(max(round(math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))), self.low), self.high)

    def grid(self) -> list[int]:
        """Numbers at equal distances or ratios, the ends among them; fewer than `points` where there are not so many."""
        spaced = np.geomspace if self.log else np.linspace
        return sorted({round(float(value)) for value in spaced(self.low, self.high, self.points)})

    def ends(self) -> list[int]:
        """The lowest and the highest."""
        return [self.low, self.high]


class Choice(Dimension):
    """One of several values, which may be of any kind: numbers, names, lists or whole components.

    >>> Choice(values=(50, [50, 100])).grid()
    [50, [50, 100]]
    """

    kind: Literal["choice"] = "choice"
    values: tuple[Any, ...] = Field(min_length=2, description="what is chosen from")

    def draw(self, rng: np.random.Generator) -> Any:
        """One of them."""
        return self.values[int(rng.integers(len(self.values)))]

    def grid(self) -> list[Any]:
        """All of them."""
        return list(self.values)


AnyDimension = Annotated[Uniform | LogUniform | Integer | Choice, Field(discriminator="kind")]
