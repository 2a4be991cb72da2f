"""A fake engine: the loop's heavy steps on a few hundred ids, in memory, without any network."""

import json

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.geometry.hashing import tie_hash, unit_hash
from xmr_ray.labels.annotators import Oracle
from xmr_ray.loop.steps import Run
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.strategies.entropy import Entropy
from xmr_ray.strategies.typical import Typical
from xmr_ray.types import DirectionReport, LabelSet, RetrievalReport, ScoreBlock, Selection


class FakeEngine:
    """Scores depend on what was bought, so a wrong order of steps changes every later selection."""

    def __init__(self, ids, *, block=37):
        self.blocks = [ids[start : start + block] for start in range(0, len(ids), block)]
        self.ids, self.calls = ids, []

    def choose_by_features(self, strategy, *, bought, n, seed, round_index):
        self.calls.append(f"features {round_index}")
        free = np.setdiff1d(self.ids, bought)
        best = free[np.argsort(tie_hash(free, seed=seed, round_index=round_index))][:n]
        return Selection(best, np.linspace(1, 0, n))

    def fit_cells(self, place, networks, *, num_labels, seed):
        self.calls.append(f"cells {place.index} {num_labels}")

    def find_neighbours(self, place, networks, *, seed):
        self.calls.append(f"neighbours {place.index}")

    def describe_purchase(self, scored, place, *, selection, bought, seed):
        self.calls.append(f"describe {place.index} after {scored.index}: {len(selection)} beside {len(bought)}")

    def train(self, place, *, bought, seed):
        self.calls.append(f"train {place.index}")
        storage.write_whole(place.training, json.dumps({"num_labels": len(bought)}).encode())
        place.write_networks(f"{seed} {bought.pair_ids_L.tolist()}".encode())

    def score_pool(self, place, networks):
        self.calls.append(f"score {place.index}")
        key = int(networks.digest[:8], 16)
        for index, ids in enumerate(self.blocks):
            values = unit_hash(ids, seed=key, round_index=0, purpose="fake")
            storage.write_whole(storage.join(place.folder("scores"), f"{index}.json"), json.dumps(values.tolist()).encode())

    def reduce_scores(self, place, columns, function, merge):
        return merge([function(self._block(place, index, columns)) for index in range(len(self.blocks))])

    def _block(self, place, index, columns):
        if place is None:
            return ScoreBlock(self.blocks[index])
        values = json.loads(storage.read_bytes(storage.join(place.folder("scores"), f"{index}.json")))
        return ScoreBlock(self.blocks[index], {name: self._column(name, np.array(values)) for name in columns})

    @staticmethod
    def _column(name, values_B):
        whole = {"cell": 7, "signature": 5}
        return np.floor(values_B * whole[name]).astype(np.int64) if name in whole else values_B

    def evaluate(self, place, networks, *, held_out=None):
        self.calls.append(f"evaluate {place.index}" + ("" if held_out is None else f" on {held_out.pair_ids_L.tolist()}"))
        quality = int(networks.digest[:6], 16) / 0xFFFFFF
        way = DirectionReport(map_all=quality, map_50=quality, recall={1: quality}, num_queries=9, num_without_relevant=0)
        return {"prob": RetrievalReport(way, way)}


@pytest.fixture
def ids():
    return np.arange(200, dtype=np.int64) * 7 + 3


@pytest.fixture
def truth(ids):
    return LabelSet.of(ids, [[int(i) % 5] for i in ids])


@pytest.fixture
def make_run(tmp_path, ids, truth):
    def make(name="run", *, strategy=None, annotator=None, purchases=(20, 15, 15, 10), held_out=None):
        directory = RunDirectory(str(tmp_path / name))
        return Run(
            directory=directory,
            engine=FakeEngine(ids),
            strategy=strategy or Entropy(),
            seed_strategy=Typical(),
            annotator=annotator or Oracle(truth.take),
            purchases=purchases,
            arm="entropy",
            seed=4,
            space="prob",
            held_out=held_out,
        )

    return make
