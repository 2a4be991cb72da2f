"""One process among those that train together: what it must know of the others, and how tensors travel between them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `world`; with one process nothing travels and no process group is needed."""

    rank: int
    world: int

    @classmethod
    def single(cls) -> "Ranks":
        """One process alone."""
        return cls(0, 1)

    @classmethod
    def current(cls) -> "Ranks":
        """From torch's process group if there is one, else one process alone."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls.single()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Elementwise sum over ranks, without gradient; every rank must call it with the same shape."""
        total = values.detach().clone()
        if self.world > 1:
            distributed.all_reduce(total)
        return total

    def max(self, value: int, device: torch.device | str = "cpu") -> int:
        """The largest value of all ranks."""
        if self.world == 1:
            return value
        found = torch.tensor(value, device=device)
        distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
        return int(found)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks in rank order, with gradients; every rank must bring the same shape.

        The gradient of a row is the sum of what every rank's loss says about it.
        """
        return rows if self.world == 1 else _Gather.apply(rows, self.rank, self.world)

    def gather_ragged(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks in rank order, however many each has; without gradient."""
        if self.world == 1:
            return rows
        most = self.max(len(rows), rows.device)
        padded = torch.cat([rows.detach(), rows.new_zeros((most - len(rows), *rows.shape[1:]))])
        kept = torch.cat([torch.ones(len(rows), device=rows.device), torch.zeros(most - len(rows), device=rows.device)])
        return self.gather(padded)[self.gather(kept) > 0]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, rank: int, world: int) -> torch.Tensor:
        ctx.rank, ctx.num_rows = rank, len(rows)
        parts = [torch.empty_like(rows) for _ in range(world)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total[ctx.rank * ctx.num_rows : (ctx.rank + 1) * ctx.num_rows], None, None
