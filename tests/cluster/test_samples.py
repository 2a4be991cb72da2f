import numpy as np
import pytest
import ray

from xmr_ray.cluster.reduce import CHUNK
from xmr_ray.cluster.samples import chunks_of, merge_tree, sample_points
from xmr_ray.cluster.score import fetch
from xmr_ray.errors import StorageError
from xmr_ray.geometry.hashing import hash_sample
from xmr_ray.scoring.points import PointSource


def test_chunks_are_fixed_runs_that_hold_every_descriptor(tiny_corpus):
    descriptors = tiny_corpus.descriptors("train") * 5
    chunks = chunks_of(descriptors)
    assert [one for chunk in chunks for one in chunk] == list(descriptors)
    assert {len(chunk) for chunk in chunks[:-1]} == {CHUNK}


def joined(parts):
    return [item for part in parts for item in part]


@pytest.mark.ray
def test_a_tree_merges_neighbours_in_their_order(session):
    assert fetch(merge_tree([ray.put([i]) for i in range(CHUNK + 3)], joined)) == list(range(CHUNK + 3))
    assert fetch(merge_tree([ray.put([7])], joined)) == [7]


@pytest.mark.ray
def test_the_sample_gathered_in_tasks_is_the_hash_sample_with_its_points(session, fused, all_points):
    drawn = fetch(sample_points(fused, size=90, seed=1, round_index=2, purpose="cells"))
    ids, points = all_points
    assert drawn.ids_B.tolist() == hash_sample(ids, size=90, seed=1, round_index=2, purpose="cells").tolist()
    np.testing.assert_array_equal(drawn.points_BD, points[np.argsort(ids)[np.searchsorted(np.sort(ids), drawn.ids_B)]])


@pytest.mark.ray
def test_an_error_of_our_own_inside_a_task_is_raised_as_itself(session, fused):
    nowhere = PointSource(fused.root + "-none", "fused", fused.multi_label, fused.descriptors)
    with pytest.raises(StorageError, match="round-none"):
        fetch(sample_points(nowhere, size=9, seed=0, round_index=0, purpose="cells"))
