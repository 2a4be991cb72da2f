"""How many labels may be bought, and when."""

from pydantic import Field, field_validator

from xmr_ray.component import Settings
from xmr_ray.errors import ConfigError


class Budget(Settings):
    """Labels in all, seed pairs first, then rounds; the last round buys what remains.

    >>> Budget(total=100, seed_pairs=40, per_round=25).purchases()
    [40, 25, 25, 10]
    >>> Budget(total=100, seed_pairs=10, per_round=(10, 30)).purchases()
    [10, 10, 30, 30, 20]
    """

    total: int = Field(default=400, ge=1, description="labels bought in all, seed pairs included")
    seed_pairs: int = Field(default=50, ge=1, description="first purchase, before any network exists")
    per_round: int | tuple[int, ...] = Field(default=50, description="labels a round; of a list, the last number repeats")

    @field_validator("per_round")
    @classmethod
    def _positive(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        sizes = (value,) if isinstance(value, int) else value
        if not sizes or min(sizes) < 1:
            raise ValueError(f"per_round is {value}; expected numbers of at least 1")
        return value

    def purchases(self) -> list[int]:
        """Labels bought in each round, seed pairs first; they sum to `total`."""
        sizes = (self.per_round,) if isinstance(self.per_round, int) else self.per_round
        bought = [min(self.seed_pairs, self.total)]
        while (left := self.total - sum(bought)) > 0:
            bought.append(min(sizes[min(len(bought) - 1, len(sizes) - 1)], left))
        return bought

    def check(self, num_pairs: int) -> None:
        """Raise `ConfigError` if the budget is larger than the pool that it is meant for."""
        if self.total > num_pairs:
            raise ConfigError(f"budget.total is {self.total}, but the train split holds {num_pairs} pairs; lower budget.total to {num_pairs} or less")
