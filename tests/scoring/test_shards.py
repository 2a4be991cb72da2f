from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xmr_ray.errors import StorageError
from xmr_ray.geometry.hnsw import Hnsw
from xmr_ray.geometry.nearest import measure_recall, merge_lists
from xmr_ray.scoring.density import search_points
from xmr_ray.scoring.points import Points
from xmr_ray.scoring.shards import IndexShards, LazyShards, ShardPlan, load_shard


@pytest.fixture
def plan(write_round, clustered):
    return ShardPlan(write_round(*clustered, rows=128), Hnsw(points_per_shard=250), seed=3, version="v")


def test_shards_split_the_pool_by_pair_and_seed_alone(plan, clustered):
    ids, _ = clustered
    assert plan.num_shards == 4
    of_all = plan.shard_of(ids)
    assert [int(plan.shard_of(ids[row : row + 1])[0]) for row in range(0, 900, 37)] == of_all[::37].tolist()
    assert np.bincount(of_all, minlength=4).min() > 150
    assert (of_all != replace(plan, seed=4).shard_of(ids)).any()


def test_shards_together_find_what_exact_search_finds(plan, clustered):
    queries = Points(clustered[0][:200], clustered[1][:200])
    exact = search_points(plan.source, plan.source.descriptors, queries, k=8)
    found = IndexShards.open(plan, range(4)).search(queries, k=8, ef=60)
    assert measure_recall(found, exact) > 0.98
    assert not (found.ids_QK == queries.ids_B[:, None]).any()


def test_the_same_is_found_whoever_holds_the_shards(plan, write_round, clustered):
    queries = Points(clustered[0][:100], clustered[1][:100])
    elsewhere = replace(plan, source=write_round(*clustered, rows=128, name="elsewhere"))
    one = IndexShards.open(plan, range(4)).search(queries, k=5, ef=20)
    two = [IndexShards.open(elsewhere, shards).search(queries, k=5, ef=20) for shards in ((3, 1), (0, 2))]
    np.testing.assert_array_equal(merge_lists(two, k=5).ids_QK, one.ids_QK)
    np.testing.assert_array_equal(merge_lists(two, k=5).squares_QK, one.squares_QK)
    for shard in range(4):
        assert Path(plan.index_file(shard)).read_bytes() == Path(elsewhere.index_file(shard)).read_bytes()


def test_saved_shards_are_loaded_and_what_is_damaged_or_older_is_built_again(plan, clustered, monkeypatch):
    queries = Points(clustered[0][:50], clustered[1][:50])
    first = IndexShards.open(plan, range(4)).search(queries, k=5, ef=20)
    built = []
    plain = Hnsw.start_index
    monkeypatch.setattr(
        Hnsw, "start_index", lambda self, dim, *, capacity, seed: built.append(seed) or plain(self, dim, capacity=capacity, seed=seed)
    )
    again = IndexShards.open(plan, range(4)).search(queries, k=5, ef=20)
    assert built == []
    np.testing.assert_array_equal(again.ids_QK, first.ids_QK)
    damaged = Path(plan.index_file(2))
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"xxxx")
    IndexShards.open(plan, range(4))
    assert len(built) == 1
    Path(plan.receipt_file(1)).unlink()
    IndexShards.open(plan, range(4))
    assert len(built) == 2
    IndexShards.open(replace(plan, version="w"), range(4))
    assert len(built) == 6
    assert load_shard(plan, 0) is None


def test_a_receipt_that_is_no_json_is_named(plan):
    IndexShards.open(plan, [0])
    Path(plan.receipt_file(0)).write_text("{")
    with pytest.raises(StorageError, match=r"shard-0000\.json"):
        load_shard(plan, 0)


def test_shards_are_opened_when_first_searched(plan, clustered):
    lazy = LazyShards(plan, [1, 3])
    assert not Path(plan.index_file(1)).exists()
    found = lazy.search_descriptor(plan.source.descriptors[0], 4, 50)
    assert Path(plan.index_file(1)).exists()
    assert set(plan.shard_of(found.ids_QK.ravel())) == {1, 3}
    assert set(found.ids_QK.ravel()) <= set(clustered[0])
