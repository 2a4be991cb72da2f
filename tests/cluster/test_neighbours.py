import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from xmr_ray.cluster.neighbours import find_neighbours, place_index
from xmr_ray.errors import ResourceError, StrategyError
from xmr_ray.geometry.auto import Auto
from xmr_ray.geometry.hnsw import Hnsw
from xmr_ray.geometry.neighbours import Exact
from xmr_ray.scoring.density import DensitySettings, choice_file, load_choice, local_density
from xmr_ray.scoring.outputs import file_of

ROUND = {"space": "fused", "seed": 2, "version": "networks", "cluster_cpus": 2.0}
INDEX = Hnsw(points_per_shard=150)


def settings(neighbours, **more):
    return DensitySettings(neighbours=neighbours, num_neighbours=8, density_sample=100, **more)


def test_index_actors_leave_half_a_cpu_and_are_no_more_than_the_shards():
    plain = DensitySettings()
    assert [place_index(9, plain, cluster_cpus=cpus) for cpus in (1, 2, 8)] == [1, 2, 8]
    assert place_index(3, plain, cluster_cpus=8) == 3
    assert place_index(9, DensitySettings(index_actors=5), cluster_cpus=8) == 5
    with pytest.raises(ResourceError, match="index actors"):
        place_index(9, DensitySettings(index_actors=4), cluster_cpus=2)
    with pytest.raises(ResourceError, match="index actors"):
        place_index(9, DensitySettings(cpus_per_index_actor=1), cluster_cpus=1)


def test_a_single_pair_has_no_density(tiny_corpus, monkeypatch, tmp_path):
    monkeypatch.setattr(type(tiny_corpus), "descriptors", lambda self, split: ())
    with pytest.raises(StrategyError, match="at least two"):
        find_neighbours(tiny_corpus, str(tmp_path), settings(Auto()), **ROUND)


@pytest.mark.ray
def test_exact_densities_equal_those_of_scikit_learn_and_are_not_written_twice(session, tiny_corpus, fused, all_points, read_columns):
    choice = find_neighbours(tiny_corpus, fused.root, settings(Auto()), **ROUND)
    assert (choice.backend, choice.num_points, choice.recall, choice.trials) == ("exact", 600, 1.0, ())
    ids, points = all_points
    distances = NearestNeighbors(n_neighbors=9, algorithm="brute").fit(points).kneighbors(points)[0][:, 1:]
    found = read_columns("density")
    assert found["pair_id"].tolist() == ids.tolist()
    np.testing.assert_allclose(found["density"], local_density(distances**2, bandwidth=choice.bandwidth), rtol=1e-3)
    assert choice.bandwidth == pytest.approx(np.median(distances[:, -1]), rel=0.2)
    kept, redone = (Path(file_of(fused.root, "density", fused.descriptors[i])) for i in (1, 2))
    before = kept.stat().st_mtime_ns
    redone.unlink()
    assert find_neighbours(tiny_corpus, fused.root, settings(Auto()), **ROUND) == choice
    assert kept.stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_columns("density")["density"], found["density"])


@pytest.mark.ray
def test_one_index_actor_and_two_write_the_same_and_agree_with_exact_search(session, tiny_corpus, fused, read_columns):
    written, choices = [], []
    for actors in (1, 2):
        choices.append(find_neighbours(tiny_corpus, fused.root, settings(INDEX, index_actors=actors), **ROUND))
        written.append(read_columns("density"))
        shutil.rmtree(Path(choice_file(fused.root)).parent)
    assert choices[0] == choices[1]
    assert (choices[0].backend, choices[0].num_shards, choices[0].ef) == ("hnsw", 4, 64)
    assert choices[0].recall >= INDEX.min_recall
    for name in ("pair_id", "density"):
        np.testing.assert_array_equal(written[0][name], written[1][name])
    exact = find_neighbours(tiny_corpus, fused.root, settings(Exact()), **ROUND)
    assert exact.bandwidth == choices[0].bandwidth
    assert np.isclose(written[0]["density"], read_columns("density")["density"], rtol=1e-4).mean() > 0.95


@pytest.mark.ray
def test_ef_is_raised_while_recall_is_low_and_exact_search_is_taken_when_it_may_not_be(session, tiny_corpus, fused, read_columns):
    poor = {"m": 2, "ef_construction": 2, "ef": 9, "min_recall": 0.999, "points_per_shard": 600}
    raised = find_neighbours(tiny_corpus, fused.root, settings(Hnsw(**poor, max_ef=600)), **ROUND)
    efs, recalls = [trial.ef for trial in raised.trials], [trial.recall for trial in raised.trials]
    assert efs[:2] == [9, 18]
    assert recalls[0] < 0.9
    assert max(recalls[:-1]) < 0.999
    assert load_choice(fused.root, version=raised.version) == raised
    # Three actors leave half a CPU: exact search must not wait for them.
    crowded = settings(Hnsw(**poor | {"points_per_shard": 200}, max_ef=10)).model_copy(update={"index_actors": 3})
    limited = find_neighbours(tiny_corpus, fused.root, crowded, **ROUND)
    assert (limited.backend, [trial.ef for trial in limited.trials]) == ("exact", [9, 10])
    by_fallback = read_columns("density")["density"]
    find_neighbours(tiny_corpus, fused.root, settings(Exact()), **ROUND)
    np.testing.assert_array_equal(by_fallback, read_columns("density")["density"])
