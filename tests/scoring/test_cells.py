from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from xmr_ray import storage
from xmr_ray.errors import StorageError, StrategyError
from xmr_ray.scoring.cells import NUM_PLANES, CellSettings, assign_cells, assign_descriptors, centres_file, fit_cells, load_cells, save_cells
from xmr_ray.scoring.outputs import file_of


def test_assignment_equals_a_slow_search_for_the_nearest_centre(clustered):
    _, points = clustered
    cells = fit_cells(points[::3], num_cells=15, seed=1, round_index=2)
    found = assign_cells(points, cells)
    for row, point in enumerate(points):
        distances = [float(np.sqrt(((point.astype(float) - centre) ** 2).sum())) for centre in cells.centres_MD]
        assert found.cell_B[row] == int(np.argmin(distances))
        assert found.centre_distance_B[row] == pytest.approx(min(distances), rel=1e-6)
        bits = 0
        for plane in range(NUM_PLANES):
            height = float((point.astype(float) - cells.centres_MD[found.cell_B[row]]) @ cells.planes_DS[:, plane].astype(float))
            bits |= (height > cells.offsets_S[plane]) << plane
        assert found.signature_B[row] == bits
    assert (found.cell_B.dtype, found.centre_distance_B.dtype, found.signature_B.dtype) == (np.int32, np.float64, np.int32)


def test_seed_and_round_decide_and_nothing_else_does(clustered):
    _, points = clustered
    same, again, other = (fit_cells(points, num_cells=10, seed=seed, round_index=1) for seed in (1, 1, 2))
    np.testing.assert_array_equal(same.centres_MD, again.centres_MD)
    np.testing.assert_array_equal(same.planes_DS, again.planes_DS)
    assert not np.array_equal(same.planes_DS, other.planes_DS)
    np.testing.assert_allclose(np.linalg.norm(same.planes_DS, axis=0), 1, rtol=1e-6)


def test_duplicates_share_a_signature_and_other_pairs_of_a_cell_have_many():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(2000, 16)).astype(np.float32)
    points[1000:] = points[7] + 1e-4 * rng.normal(size=(1000, 16)).astype(np.float32)  # half of the pool is one near-duplicated pair
    cells = fit_cells(points[:1000], num_cells=4, seed=0, round_index=0)
    found = assign_cells(points, cells)
    assert len(np.unique(found.cell_B[1000:])) == 1
    values, counts = np.unique(found.signature_B[1000:], return_counts=True)
    assert counts.max() > 990
    assert found.signature_B[7] == values[counts.argmax()]
    assert len(np.unique(found.signature_B[:1000])) > 100


def test_a_clump_that_is_a_cell_of_its_own_shares_one_signature():
    rng = np.random.default_rng(4)
    clump = 9 + 0.01 * rng.normal(size=(60, 16))
    points = np.concatenate([rng.normal(size=(500, 16)), clump]).astype(np.float32)
    found = assign_cells(points, fit_cells(points, num_cells=6, seed=0, round_index=0))
    assert len(np.unique(found.cell_B[500:])) == 1
    assert set(found.cell_B[500:]).isdisjoint(found.cell_B[:500])
    assert len(np.unique(found.signature_B[500:])) == 1


def test_fewer_distinct_points_than_cells_are_cells_themselves():
    points = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    cells = fit_cells(points, num_cells=9, seed=0, round_index=0)
    found = assign_cells(points, cells)
    assert len(cells.centres_MD) == 3
    assert found.centre_distance_B.max() == 0
    assert set(found.signature_B) == {0}
    with pytest.raises(StrategyError, match="0 points"):
        fit_cells(points[:0], num_cells=2, seed=0, round_index=0)


def test_cells_are_saved_whole_and_known_by_version(tmp_path, clustered):
    root = str(tmp_path)
    cells = fit_cells(clustered[1], num_cells=5, seed=0, round_index=0)
    assert load_cells(root, version="a") is None
    save_cells(root, cells, version="a")
    loaded = load_cells(root, version="a")
    for name in ("centres_MD", "planes_DS", "offsets_S"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(cells, name))
    assert load_cells(root, version="b") is None
    path = Path(centres_file(root))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"centres\.npz.*fit them again"):
        load_cells(root, version="a")


def test_every_pair_is_written_once_and_the_same_whatever_the_sharding(write_round, clustered):
    ids, points = clustered
    cells = fit_cells(points, num_cells=12, seed=0, round_index=0)
    found = {}
    for rows in (64, 900):
        source = write_round(ids, points, rows=rows, name=str(rows))
        with pytest.raises(StorageError, match="no cells of version v"):
            assign_descriptors(source, source.descriptors, version="v")
        save_cells(source.root, cells, version="v")
        assert assign_descriptors(source, source.descriptors[:1], version="v") == rows
        assert assign_descriptors(source, source.descriptors, version="v") == 900 - rows
        assert assign_descriptors(source, source.descriptors, version="v") == 0
        tables = [storage.read_table(file_of(source.root, "cells", descriptor)) for descriptor in source.descriptors]
        found[rows] = {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in tables[0].column_names}
    assert found[64]["pair_id"].tolist() == ids.tolist()
    assert list(found[64]) == ["pair_id", "cell", "centre_distance", "signature"]
    for name in found[64]:
        np.testing.assert_array_equal(found[64][name], found[900][name])


def test_automatic_number_of_cells():
    assert CellSettings(most_cells=40).cells_for(30) == 30
    assert CellSettings(most_cells=40).cells_for(50) == 40
    assert CellSettings().cells_for(0) == 1
    assert CellSettings(num_cells=900, most_cells=40).cells_for(3) == 900
    with pytest.raises(ValidationError):
        CellSettings(num_cells=0)
