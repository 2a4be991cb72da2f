"""One rank's share of the train split, in batches: held in memory, or streamed. Both visit every row exactly once an epoch."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.stream import RowGroupReader, prefetch
from xmr_ray.training.randomness import generator
from xmr_ray.training.ranks import Ranks
from xmr_ray.types import Descriptor, Ids, PairBatch

FEWEST_LANES = 8


@dataclass(frozen=True)
class RowBatch:
    """Raw float32 features of some rows; `weight_B` is 0 for padding. `positions_B` are places in `blocks()` order where rows are held in memory."""

    pair_ids_B: Ids
    image_BI: torch.Tensor
    text_BT: torch.Tensor
    weight_B: torch.Tensor
    positions_B: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.pair_ids_B)


class Rows(Protocol):
    """A source of batches. Every rank gets the same number of batches an epoch, and none of them is empty."""

    @property
    def resident(self) -> bool:
        """Whether `blocks()` may be called: the rows are in memory and have positions."""

    def epoch(self, epoch: int, batch_size: int) -> Iterator[RowBatch]:
        """This rank's part of batches that hold `batch_size` rows over all ranks."""

    def blocks(self, num_rows: int) -> Iterator[RowBatch]:
        """This rank's rows in a fixed order, in blocks."""


class ResidentRows:
    """Rank r holds the descriptors r, r + W, ... of the train split in memory.

    Descriptors are dealt to V = max(8, W) lanes, lanes to ranks. A lane's order is drawn from (seed, epoch, lane), and every batch takes an
    evenly spaced slice of every lane: so a batch holds the same rows however many ranks there are, up to 8.
    """

    resident = True

    def __init__(self, corpus: PairedCorpus, *, ranks: Ranks, seed: int) -> None:
        self._seed, self._ranks = seed, ranks
        descriptors = corpus.descriptors("train")
        self._num_lanes = max(FEWEST_LANES, ranks.world)
        self._num_rows = sum(descriptor.num_rows for descriptor in descriptors)
        lanes = [lane for lane in range(self._num_lanes) if lane % ranks.world == ranks.rank]
        shape = (corpus.schema.image_dim, corpus.schema.text_dim)
        mine = [(lane, descriptor) for lane in lanes for descriptor in descriptors[lane :: self._num_lanes]]
        total = sum(descriptor.num_rows for _, descriptor in mine)
        self._ids_N = np.empty(total, dtype=np.int64)
        self._image_NI, self._text_NT = torch.empty(total, shape[0]), torch.empty(total, shape[1])
        self._lanes: dict[int, tuple[int, int]] = dict.fromkeys(lanes, (0, 0))
        self._read(corpus, mine)

    def _read(self, corpus: PairedCorpus, mine: list[tuple[int, Descriptor]]) -> None:
        reader, start = RowGroupReader(corpus), 0
        for (lane, _), (_, batch) in zip(mine, prefetch(reader, [descriptor for _, descriptor in mine]), strict=True):
            stop = start + len(batch)
            self._ids_N[start:stop] = batch.pair_ids_B
            self._image_NI[start:stop] = as_tensor(batch.images())
            self._text_NT[start:stop] = as_tensor(batch.texts())
            first, size = self._lanes[lane]
            self._lanes[lane] = (first if size else start, size + len(batch))
            start = stop
        reader.close()

    def epoch(self, epoch: int, batch_size: int) -> Iterator[RowBatch]:
        """This rank's slices of `ceil(N / batch_size)` batches; a rank with no row in one gets a padding row."""
        num_batches = -(-self._num_rows // batch_size)
        orders = {lane: torch.randperm(size, generator=generator(self._seed, epoch, lane, "rows")) for lane, (_, size) in self._lanes.items()}
        for t in range(num_batches):
            parts = []
            for lane, (first, size) in self._lanes.items():
                parts.append(orders[lane][t * size // num_batches : (t + 1) * size // num_batches] + first)
            yield self._take(torch.cat(parts))

    def blocks(self, num_rows: int) -> Iterator[RowBatch]:
        """This rank's rows in the order in which they are held."""
        for start in range(0, len(self._ids_N), num_rows):
            yield self._take(torch.arange(start, min(start + num_rows, len(self._ids_N))))

    def _take(self, at: torch.Tensor) -> RowBatch:
        if len(at) == 0:
            return padding(self._image_NI.shape[1], self._text_NT.shape[1], positions=True)
        return RowBatch(self._ids_N[at.numpy()], self._image_NI[at], self._text_NT[at], torch.ones(len(at)), at)


class StreamedRows:
    """Descriptors come from a stream, and each rank reads their rows; the next row group is read while the present one is used.

    Rows are shuffled within a row group, and a batch may span several. A rank whose rows are used up brings rows of weight 0 until the
    last one is done: no row is dropped, and the ranks stay in step.
    """

    resident = False

    def __init__(
        self,
        epoch_descriptors: Callable[[int], Iterator[Descriptor]],
        read: Callable[[Descriptor], PairBatch],
        *,
        ranks: Ranks,
        seed: int,
    ) -> None:
        self._epoch_descriptors, self._read, self._ranks, self._seed = epoch_descriptors, read, ranks, seed

    def epoch(self, epoch: int, batch_size: int) -> Iterator[RowBatch]:
        """Batches of `batch_size / W` rows of this rank, the last ones padded."""
        local = max(1, -(-batch_size // self._ranks.world))
        batches = self._batches(epoch, local)
        widths: tuple[int, int] | None = None
        while True:
            batch = next(batches, None)
            if self._ranks.world == 1 and batch is None:
                return
            widths = self._agree(batch) if self._ranks.world > 1 else (0, 0)
            if widths is None:
                return
            yield padding(*widths) if batch is None else batch

    def blocks(self, num_rows: int) -> Iterator[RowBatch]:
        """Not available: streamed rows have no places."""
        raise NotImplementedError("streamed rows are predicted batch by batch")

    def _agree(self, batch: RowBatch | None) -> tuple[int, int] | None:
        """Feature widths if any rank still has rows, else None; a rank without a row learns them from the others."""
        mine = (0, 0) if batch is None else (batch.image_BI.shape[1], batch.text_BT.shape[1])
        found = [self._ranks.max(width) for width in mine]
        return (found[0], found[1]) if found[0] else None

    def _batches(self, epoch: int, size: int) -> Iterator[RowBatch]:
        held: list[RowBatch] = []
        for descriptor, batch in self._prefetched(self._epoch_descriptors(epoch)):
            order = torch.randperm(len(batch), generator=generator(self._seed, epoch, descriptor.index, "rows"))
            image_BI, text_BT = as_tensor(batch.images())[order], as_tensor(batch.texts())[order]
            held.append(RowBatch(batch.pair_ids_B[order.numpy()], image_BI, text_BT, torch.ones(len(batch))))
            joined = concatenate(held)
            whole = len(joined) - len(joined) % size
            for start in range(0, whole, size):
                yield rows_of(joined, start, start + size)
            held = [rows_of(joined, whole, len(joined))]
        if held and len(held[0]):
            yield held[0]

    def _prefetched(self, descriptors: Iterable[Descriptor]) -> Iterator[tuple[Descriptor, PairBatch]]:
        waiting = iter(descriptors)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="rows") as thread:
            descriptor = next(waiting, None)
            ahead = None if descriptor is None else thread.submit(self._read, descriptor)
            while descriptor is not None and ahead is not None:
                batch, present = ahead.result(), descriptor
                descriptor = next(waiting, None)
                ahead = None if descriptor is None else thread.submit(self._read, descriptor)
                yield present, batch


class HeldRows:
    """The same rows on every rank (the bought ones): one order for all, each batch dealt row by row."""

    resident = True

    def __init__(self, pair_ids_N: Ids, image_NI: torch.Tensor, text_NT: torch.Tensor, *, ranks: Ranks, seed: int) -> None:
        self.pair_ids_N, self.image_NI, self.text_NT = pair_ids_N, image_NI, text_NT
        self._ranks, self._seed = ranks, seed

    def epoch(self, epoch: int, batch_size: int) -> Iterator[RowBatch]:
        """This rank's rows of `ceil(N / batch_size)` batches of nearly equal size."""
        order = torch.randperm(len(self.pair_ids_N), generator=generator(self._seed, epoch, "rows"))
        for part in torch.tensor_split(order, -(-len(order) // batch_size)):
            at = part[self._ranks.rank :: self._ranks.world]
            yield self.take(at) if len(at) else padding(self.image_NI.shape[1], self.text_NT.shape[1], positions=True)

    def blocks(self, num_rows: int) -> Iterator[RowBatch]:
        """All rows in order of ids; every rank holds them all."""
        for start in range(0, len(self.pair_ids_N), num_rows):
            yield self.take(torch.arange(start, min(start + num_rows, len(self.pair_ids_N))))

    def subset(self, at: torch.Tensor) -> "HeldRows":
        """Some of the rows, with the same seed."""
        return HeldRows(self.pair_ids_N[at.numpy()], self.image_NI[at], self.text_NT[at], ranks=self._ranks, seed=self._seed)

    def take(self, at: torch.Tensor) -> RowBatch:
        """The rows at these positions."""
        return RowBatch(self.pair_ids_N[at.numpy()], self.image_NI[at], self.text_NT[at], torch.ones(len(at)), at)


def endless(rows: Rows, batch_size: int) -> Iterator[RowBatch]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        yield from rows.epoch(epoch, batch_size)
        epoch += 1


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """A writable float32 tensor; a read-only view of a file is copied."""
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def padding(image_dim: int, text_dim: int, *, positions: bool = False) -> RowBatch:
    """One row of zeros with weight 0 and an id that no pair has."""
    at = torch.zeros(1, dtype=torch.int64) if positions else None
    return RowBatch(np.full(1, -1, dtype=np.int64), torch.zeros(1, image_dim), torch.zeros(1, text_dim), torch.zeros(1), at)


def concatenate(parts: list[RowBatch]) -> RowBatch:
    """Batches without positions, one after another."""
    if len(parts) == 1:
        return parts[0]
    images, texts, weights = (torch.cat([getattr(part, name) for part in parts]) for name in ("image_BI", "text_BT", "weight_B"))
    return RowBatch(np.concatenate([part.pair_ids_B for part in parts]), images, texts, weights)


def rows_of(batch: RowBatch, start: int, stop: int) -> RowBatch:
    """Rows `start` to `stop` of a batch without positions."""
    return RowBatch(batch.pair_ids_B[start:stop], batch.image_BI[start:stop], batch.text_BT[start:stop], batch.weight_B[start:stop])
