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
        if self.world == 1:
            return values.detach().clone()
        total = values.detach().to(_travel_device(), copy=True)
        distributed.all_reduce(total)
        return total.to(values.device)

    def max(self, value: int) -> int:
        """The largest value of all ranks."""
        if self.world == 1:
            return value
        found = torch.tensor(value, device=_travel_device())
        distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
        return int(found)

    def first(self, values: torch.Tensor) -> torch.Tensor:
        """The values of rank 0, so that every rank decides alike."""
        return self.sum(values if self.rank == 0 else torch.zeros_like(values))

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks in rank order, with gradients; every rank must bring the same shape.

        The gradient of a row is the sum of what every rank's loss says about it.
        """
        return rows if self.world == 1 else _Gather.apply(rows, self.rank, self.world)  # type: ignore[no-untyped-call]

    def gather_ragged(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks in rank order, however many each has; without gradient."""
        if self.world == 1:
            return rows
        most = self.max(len(rows))
        padded = torch.cat([rows.detach(), rows.new_zeros((most - len(rows), *rows.shape[1:]))]).to(_travel_device())
        kept = (torch.arange(most) < len(rows)).to(torch.uint8).to(_travel_device())
        return self.gather(padded)[self.gather(kept) > 0].to(rows.device)


def _travel_device() -> torch.device:
    """Where tensors must lie to be exchanged: NCCL takes them from the GPU only."""
    return torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else torch.device("cpu")


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
