"""Hash samples of a round's points, drawn and gathered in tasks; nothing of the points passes through the driver."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import ray

from xmr_ray.cluster.reduce import CHUNK
from xmr_ray.scoring.points import Points, PointSource, gather_points, join_points, merge_samples, sample_ids
from xmr_ray.types import Descriptor, Ids

T = TypeVar("T")


def chunks_of(descriptors: Sequence[Descriptor]) -> list[Sequence[Descriptor]]:
    """Fixed runs of neighbouring descriptors, whatever the number of CPUs."""
    return [descriptors[start : start + CHUNK] for start in range(0, len(descriptors), CHUNK)]


def sample_points(source: PointSource, *, size: int, seed: int, round_index: int, purpose: str) -> Any:
    """Reference to the `Points` of a hash sample of all pairs, ascending by id."""
    drawn: dict[str, Any] = {"size": size, "seed": seed, "round_index": round_index, "purpose": purpose}
    shared, chunks = ray.put(source), chunks_of(source.descriptors)
    ids = merge_tree([_sample_ids.remote(shared, chunk, drawn) for chunk in chunks], partial(merge_samples, **drawn))
    return _join.remote(*[_gather.remote(shared, chunk, ids) for chunk in chunks])


def merge_tree(references: Sequence[Any], merge: Callable[[Sequence[T]], T]) -> Any:
    """Reference to everything merged, neighbours first, `CHUNK` at a time in tasks; `merge` must be associative."""
    while len(references) > 1:
        references = [_merge.remote(merge, *references[start : start + CHUNK]) for start in range(0, len(references), CHUNK)]
    return references[0]


@ray.remote(num_cpus=0.5)
def _sample_ids(source: PointSource, chunk: Sequence[Descriptor], drawn: dict[str, Any]) -> Ids:
    return sample_ids(source, chunk, **drawn)


@ray.remote(num_cpus=0.5)
def _merge(merge: Any, *parts: Any) -> Any:
    return merge(parts)


@ray.remote(num_cpus=0.5)
def _gather(source: PointSource, chunk: Sequence[Descriptor], wanted: Ids) -> Points:
    return gather_points(source, chunk, wanted)


@ray.remote(num_cpus=0.5)
def _join(*parts: Points) -> Points:
    return join_points(parts)
