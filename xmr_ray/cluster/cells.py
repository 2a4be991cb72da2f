"""Cells of a round: a sample is drawn and gathered in tasks, one task fits the centres, tasks assign every train pair, descriptor by descriptor."""

from collections.abc import Sequence

import ray

from xmr_ray.cluster.samples import chunks_of, sample_points
from xmr_ray.cluster.score import fetch
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.errors import StrategyError
from xmr_ray.scoring import cells
from xmr_ray.scoring.cells import assign_descriptors, load_cells, save_cells
from xmr_ray.scoring.outputs import is_current
from xmr_ray.scoring.points import Points, PointSource, Space, version_of
from xmr_ray.types import Descriptor


def fit_cells(corpus: PairedCorpus, root: str, *, num_cells: int, sample: int, space: Space, seed: int, round_index: int, version: str) -> int:
    """Write the cell of every train pair, bought ones too, to `cells/` below `root`; returns how many pairs were assigned now.

    What these networks (`version`) and settings have written already is not written again.

    Raises:
        StrategyError: the corpus has no train pairs, or a point is not finite.
    """
    source = PointSource.of(corpus, root, space)
    if not source.num_points:
        raise StrategyError(f"{corpus.path}: no train pairs to divide into cells")
    version = version_of(version, num_cells=num_cells, sample=sample, space=space, seed=seed, round_index=round_index)
    if load_cells(root, version=version) is None:
        drawn = sample_points(source, size=sample, seed=seed, round_index=round_index, purpose="cells")
        fetch(_fit.remote(root, drawn, num_cells, seed, round_index, version))
    missing = [one for one in source.descriptors if not is_current(root, "cells", one, version=version)]
    shared = ray.put(source)
    return sum(fetch([_assign.remote(shared, chunk, version) for chunk in chunks_of(missing)]))


@ray.remote
def _fit(root: str, drawn: Points, num_cells: int, seed: int, round_index: int, version: str) -> None:
    found = cells.fit_cells(drawn.points_BD, num_cells=num_cells, seed=seed, round_index=round_index)
    save_cells(root, found, version=version)


@ray.remote(num_cpus=0.5)
def _assign(source: PointSource, chunk: Sequence[Descriptor], version: str) -> int:
    return assign_descriptors(source, chunk, version=version)
