"""Pure functions over score blocks, where the blocks lie: tasks map and merge neighbours, the driver merges what is left, in descriptor order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray

from xmr_ray.cluster.score import fetch
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.scoring.outputs import read_scores
from xmr_ray.types import Descriptor, ScoreBlock

T = TypeVar("T")
CHUNK = 16


@dataclass(frozen=True)
class BlockSource:
    """Where score blocks come from: files below `root`, or the ids of the corpus alone when no network is needed."""

    corpus: PairedCorpus
    root: str | None
    columns: tuple[str, ...]

    def read(self, descriptor: Descriptor) -> ScoreBlock:
        """The block of one descriptor."""
        if self.root is not None:
            return read_scores(self.root, descriptor, self.columns)
        return ScoreBlock(self.corpus.read_ids(descriptor))


def reduce_chunk(source: BlockSource, descriptors: Sequence[Descriptor], function: Callable[[ScoreBlock], T], merge: Callable[[Sequence[T]], T]) -> T:
    """Map and merge a run of neighbouring descriptors, in their order."""
    return merge([function(source.read(descriptor)) for descriptor in descriptors])


def reduce_blocks(source: BlockSource, function: Callable[[ScoreBlock], T], merge: Callable[[Sequence[T]], T]) -> T:
    """Map `function` over every train block and merge in descriptor order.

    Chunks are fixed runs of `CHUNK` descriptors, whatever the number of CPUs, so the result is the same bit for bit.
    """
    descriptors = source.corpus.descriptors("train")
    chunks = [descriptors[start : start + CHUNK] for start in range(0, len(descriptors), CHUNK)]
    shared = ray.put((source, function, merge))
    pending = [_reduce.remote(shared, chunk) for chunk in chunks]
    return merge(fetch(pending))


@ray.remote(num_cpus=0.5)
def _reduce(shared: tuple[BlockSource, Any, Any], chunk: Sequence[Descriptor]) -> Any:
    source, function, merge = shared
    return reduce_chunk(source, chunk, function, merge)
