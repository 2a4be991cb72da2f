import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity, NearestNeighbors

from xmr_ray import storage
from xmr_ray.errors import StorageError
from xmr_ray.geometry.nearest import merge_lists
from xmr_ray.scoring.density import (
    DensityChoice,
    choice_file,
    kernel_bandwidth,
    load_choice,
    local_density,
    save_choice,
    search_points,
    write_exact_density,
)
from xmr_ray.scoring.outputs import file_of
from xmr_ray.scoring.points import Points

CHOICE = DensityChoice(version="v", backend="exact", num_points=900, num_neighbours=6, bandwidth=0.7)


def test_density_equals_a_slow_loop():
    squares = np.random.default_rng(0).random((20, 5)) * 9
    squares[3, 4] = np.inf
    expected = [sum(math.exp(-square / (2 * 0.8**2)) for square in row) / 5 for row in squares]
    np.testing.assert_allclose(local_density(squares, bandwidth=0.8), expected, rtol=1e-12)
    assert local_density(np.empty((3, 0)), bandwidth=1.0).tolist() == [0, 0, 0]


def test_all_neighbours_give_the_kernel_density_of_scikit_learn(clustered):
    _, points = clustered
    squares = NearestNeighbors(n_neighbors=900, algorithm="brute").fit(points).kneighbors(points)[0] ** 2
    logs = KernelDensity(bandwidth=0.5).fit(points).score_samples(points)
    ours = local_density(squares, bandwidth=0.5)
    np.testing.assert_allclose(np.log(ours), logs + 8 / 2 * math.log(2 * math.pi * 0.5**2), atol=1e-3)


def test_bandwidth_is_the_median_last_distance_and_never_zero():
    assert kernel_bandwidth(np.array([[1, 4], [0, 16], [2, 9]])) == 3
    assert kernel_bandwidth(np.array([[0, 0], [0, 0], [0, 25.0]])) == 5
    assert kernel_bandwidth(np.zeros((4, 2))) == 1
    assert kernel_bandwidth(np.empty((0, 2))) == 1


def test_streamed_search_equals_scikit_learn_and_parts_merge(write_round, clustered):
    ids, points = clustered
    source = write_round(ids, points, rows=100)
    queries = Points(ids[50:90], points[50:90])
    halves = [search_points(source, part, queries, k=6) for part in (source.descriptors[5:], source.descriptors[:5])]
    distances, rows = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(points).kneighbors(points[50:90])
    for found in (merge_lists(halves, k=6), search_points(source, source.descriptors, queries, k=6)):
        np.testing.assert_array_equal(found.ids_QK, ids[rows[:, 1:]])
        np.testing.assert_allclose(found.squares_QK, distances[:, 1:] ** 2, rtol=1e-4)


def test_exact_densities_are_written_once_and_do_not_depend_on_the_sharding(write_round, clustered):
    ids, points = clustered
    written = {}
    for rows in (75, 900):
        source = write_round(ids, points, rows=rows, name=str(rows))
        assert write_exact_density(source, source.descriptors[:1], CHOICE) == rows
        assert write_exact_density(source, source.descriptors, CHOICE) == 900 - rows
        assert write_exact_density(source, source.descriptors, CHOICE) == 0
        tables = [storage.read_table(file_of(source.root, "density", descriptor)) for descriptor in source.descriptors]
        assert np.concatenate([table["pair_id"].to_numpy() for table in tables]).tolist() == ids.tolist()
        written[rows] = np.concatenate([table["density"].to_numpy() for table in tables])
    np.testing.assert_allclose(written[75], written[900], rtol=1e-6)
    distances = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(points).kneighbors(points)[0][:, 1:]
    np.testing.assert_allclose(written[75], np.exp(-(distances**2) / (2 * 0.7**2)).mean(axis=1), rtol=1e-4)


def test_a_choice_is_known_by_version_and_a_damaged_one_is_named(tmp_path):
    root = str(tmp_path)
    assert load_choice(root, version="v") is None
    save_choice(root, CHOICE)
    assert load_choice(root, version="v") == CHOICE
    assert load_choice(root, version="w") is None
    assert CHOICE.column_version != CHOICE.model_copy(update={"backend": "hnsw", "ef": 64}).column_version
    Path(choice_file(root)).write_text('{"version": "v"}')
    with pytest.raises(StorageError, match=r"choice\.json"):
        load_choice(root, version="v")
