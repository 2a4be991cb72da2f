"""Local density of a round: exact search in tasks, or index shards in actors whose recall was measured first."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray

from xmr_ray.cluster.evaluate import parts_of
from xmr_ray.cluster.reservations import SPARE_CPUS, Reservation, check_reservations
from xmr_ray.cluster.samples import chunks_of, merge_tree, sample_points
from xmr_ray.cluster.score import fetch
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.errors import StrategyError
from xmr_ray.geometry.auto import choose_backend
from xmr_ray.geometry.hnsw import Hnsw
from xmr_ray.geometry.nearest import NeighbourLists, measure_recall, merge_lists
from xmr_ray.scoring.density import (
    DensityChoice,
    DensitySettings,
    Trial,
    kernel_bandwidth,
    load_choice,
    save_choice,
    search_points,
    write_density,
    write_exact_density,
)
from xmr_ray.scoring.outputs import is_current
from xmr_ray.scoring.points import Points, PointSource, Space, version_of
from xmr_ray.scoring.shards import LazyShards, ShardPlan
from xmr_ray.types import Descriptor

# Descriptors whose lists may wait to be merged, for each actor: enough to keep it busy, few enough to bound what the object store holds.
_WAITING = 4


def find_neighbours(
    corpus: PairedCorpus, root: str, settings: DensitySettings, *, space: Space, seed: int, version: str, cluster_cpus: float
) -> DensityChoice:
    """Write the local density of every train pair to `density/` below `root`; returns how it was found, which is also written there.

    What these networks (`version`) and settings have written already is not written again.

    Raises:
        StrategyError: the corpus has fewer than two train pairs, or a point is not finite.
        ResourceError: the configured index actors could stall the cluster.
    """
    source = PointSource.of(corpus, root, space)
    if source.num_points < 2:
        raise StrategyError(f"{corpus.path}: {source.num_points} train pairs; density needs at least two")
    backend = choose_backend(settings.neighbours, source.num_points)
    version = version_of(
        version, backend=backend.model_dump_json(), k=settings.num_neighbours, sample=settings.density_sample, space=space, seed=seed
    )
    actors = _IndexActors(ShardPlan(source, backend, seed, version), settings, cluster_cpus) if isinstance(backend, Hnsw) else None
    try:
        choice = load_choice(root, version=version) or _choose(source, settings, actors, seed=seed, version=version)
        save_choice(root, choice)
        if missing := [one for one in source.descriptors if not is_current(root, "density", one, version=choice.column_version)]:
            _write(source, choice, actors, missing)
    finally:
        if actors is not None:
            actors.close()
    return choice


def place_index(num_shards: int, settings: DensitySettings, *, cluster_cpus: float) -> int:
    """Actors for so many shards: the configured number, or one per CPU as far as half a CPU stays free; never more than shards.

    Raises `ResourceError` if they could stall the cluster.
    """
    each = settings.cpus_per_index_actor
    fitting = max(1, min(int(cluster_cpus), int((cluster_cpus - SPARE_CPUS + 1e-9) / each)))
    count = min(num_shards, fitting if settings.index_actors == "auto" else settings.index_actors)
    check_reservations([Reservation("index actors", count, each)], cluster_cpus=cluster_cpus, cluster_gpus=0)
    return count


_RemoteShards: Any = ray.remote(max_restarts=2, max_task_retries=2)(LazyShards)  # whose module imports little, so these actors start soon


@dataclass
class _IndexActors:
    """Actors that hold every shard between them; they start when first asked."""

    plan: ShardPlan
    settings: DensitySettings
    cluster_cpus: float
    _started: list[Any] = field(default_factory=list, init=False)

    def started(self) -> list[Any]:
        if not self._started:
            count = place_index(self.plan.num_shards, self.settings, cluster_cpus=self.cluster_cpus)
            remote = _RemoteShards.options(num_cpus=self.settings.cpus_per_index_actor)
            self._started = [remote.remote(self.plan, range(first, self.plan.num_shards, count)) for first in range(count)]
        return self._started

    def close(self) -> None:
        for actor in self._started:
            ray.kill(actor)
        self._started = []


def _choose(source: PointSource, settings: DensitySettings, actors: _IndexActors | None, *, seed: int, version: str) -> DensityChoice:
    """The bandwidth, and the lowest `ef` whose recall on the sample is high enough; else exact search."""
    k = min(settings.num_neighbours, source.num_points - 1)
    drawn = sample_points(source, size=settings.density_sample, seed=seed, round_index=0, purpose="density")
    shared = ray.put(source)
    parts = [_search_sample.remote(shared, chunk, drawn, k) for chunk in chunks_of(source.descriptors)]
    exact: NeighbourLists = fetch(merge_tree(parts, partial(merge_lists, k=k)))
    trials = () if actors is None else _measure_efs(actors, drawn, exact, k=k)
    choice = DensityChoice(
        version=version,
        backend="exact",
        num_points=source.num_points,
        num_neighbours=k,
        bandwidth=kernel_bandwidth(exact.squares_QK),
        trials=trials,
    )
    if actors is None or not trials or trials[-1].recall < actors.plan.hnsw.min_recall:
        return choice
    found = {"backend": "hnsw", "num_shards": actors.plan.num_shards, "ef": trials[-1].ef, "recall": trials[-1].recall}
    return choice.model_copy(update=found)


def _measure_efs(actors: _IndexActors, drawn: Any, exact: NeighbourLists, *, k: int) -> tuple[Trial, ...]:
    """Recall on the sample for rising `ef`, up to the first that is enough."""
    trials: list[Trial] = []
    for ef in actors.plan.hnsw.efs(k):
        lists = fetch([actor.search_points.remote(drawn, k, ef) for actor in actors.started()])
        trials.append(Trial(ef=ef, recall=measure_recall(merge_lists(lists, k=k), exact)))
        if trials[-1].recall >= actors.plan.hnsw.min_recall:
            break
    return tuple(trials)


def _write(source: PointSource, choice: DensityChoice, actors: _IndexActors | None, missing: Sequence[Descriptor]) -> None:
    """Search and write: by tasks that read all points, or by every actor in its shards, whose lists a task merges."""
    shared = ray.put((source, choice))
    if actors is None or choice.backend == "exact":
        if actors is not None:
            actors.close()  # what they hold may be all that these tasks wait for
        fetch([_write_exact.remote(shared, part) for part in parts_of(missing)])
        return
    waiting: list[Any] = []
    for descriptor in missing:
        lists = [actor.search_descriptor.remote(descriptor, choice.num_neighbours, choice.ef) for actor in actors.started()]
        waiting.append(_write_merged.remote(shared, descriptor, *lists))
        if len(waiting) >= _WAITING * len(lists):
            done, waiting = ray.wait(waiting)
            fetch(done)
    fetch(waiting)


@ray.remote(num_cpus=0.5)
def _search_sample(source: PointSource, chunk: Sequence[Descriptor], drawn: Points, k: int) -> NeighbourLists:
    return search_points(source, chunk, drawn, k=k)


@ray.remote
def _write_exact(shared: tuple[PointSource, DensityChoice], part: Sequence[Descriptor]) -> int:
    source, choice = shared
    return write_exact_density(source, part, choice)


@ray.remote(num_cpus=0.5)
def _write_merged(shared: tuple[PointSource, DensityChoice], descriptor: Descriptor, *lists: NeighbourLists) -> None:
    source, choice = shared
    squares_BK = merge_lists(lists, k=choice.num_neighbours).squares_QK
    write_density(source.root, descriptor, source.read_ids(descriptor), squares_BK, choice)
