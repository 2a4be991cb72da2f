from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from xmr_ray import storage
from xmr_ray.errors import StorageError
from xmr_ray.scoring.outputs import EMBEDDINGS, FUSED_MEAN, ScoredPairs, file_of, is_current, read_matrices, read_scores, write_scored
from xmr_ray.types import Descriptor, ScoreBlock

DESCRIPTOR = Descriptor(index=3, split="train", file="train/pairs-00000.parquet", row_group=1, num_rows=5)


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    block = ScoreBlock(np.array([9, 4, 7, 1, 0]), {"entropy": rng.random(5), "margin": rng.random(5)})
    towers = {name: rng.standard_normal((5, 3 if name.endswith("probability") else 8)).astype(np.float32) for name in EMBEDDINGS}
    return ScoredPairs(block, rng.random((5, 3), dtype=np.float32), towers)


@pytest.mark.parametrize(("dtype", "tolerance"), [("f32", 0.0), ("f16", 2e-3), ("bf16", 2e-2)])
def test_what_is_written_reads_back_in_the_descriptors_order(tmp_path, scored, dtype, tolerance):
    write_scored(str(tmp_path), DESCRIPTOR, scored, dtype=dtype, version="v1")
    block = read_scores(str(tmp_path), DESCRIPTOR, ("margin",))
    assert block.pair_ids_B.tolist() == [9, 4, 7, 1, 0]
    assert list(block.columns) == ["margin"]
    np.testing.assert_array_equal(block.columns["margin"], scored.block.columns["margin"])
    ids, towers = read_matrices(str(tmp_path), "embeddings", DESCRIPTOR, EMBEDDINGS)
    assert ids.tolist() == [9, 4, 7, 1, 0]
    for name in EMBEDDINGS:
        np.testing.assert_allclose(towers[name], scored.towers[name], atol=tolerance, rtol=tolerance)
    _, predictions = read_matrices(str(tmp_path), "predictions", DESCRIPTOR, ["probability"])
    np.testing.assert_array_equal(predictions["probability"], scored.probabilities_BC)


def test_only_the_same_networks_count_as_written(tmp_path, scored):
    root = str(tmp_path)
    assert not is_current(root, "scores", DESCRIPTOR, version="v1")
    write_scored(root, DESCRIPTOR, scored, dtype="f16", version="v1")
    assert is_current(root, "scores", DESCRIPTOR, version="v1")
    assert not is_current(root, "scores", DESCRIPTOR, version="v2")
    with open(file_of(root, "scores", DESCRIPTOR), "wb") as file:
        file.write(b"PAR1 torn")
    assert not is_current(root, "scores", DESCRIPTOR, version="v1")


def test_a_column_that_was_not_scored_is_named(tmp_path, scored):
    write_scored(str(tmp_path), DESCRIPTOR, scored, dtype="f16", version="v1")
    with pytest.raises(StorageError, match="informativeness"):
        read_scores(str(tmp_path), DESCRIPTOR, ("informativeness",))


def test_fused_means_are_written_where_there_are_heads(tmp_path, scored):
    root, fused = str(tmp_path), np.arange(40, dtype=np.float32).reshape(5, 8)
    write_scored(root, DESCRIPTOR, scored, dtype="f16", version="v1")
    assert FUSED_MEAN not in storage.read_table(file_of(root, "embeddings", DESCRIPTOR)).column_names
    write_scored(root, DESCRIPTOR, replace(scored, towers={**scored.towers, FUSED_MEAN: fused}), dtype="f16", version="v2")
    ids, found = read_matrices(root, "embeddings", DESCRIPTOR, [FUSED_MEAN])
    assert ids.tolist() == [9, 4, 7, 1, 0]
    np.testing.assert_array_equal(found[FUSED_MEAN], fused)


@pytest.fixture
def folders(tmp_path, scored):
    """Scores, cells and density of one descriptor; `ids` may be wrong in one of them."""
    root = str(tmp_path)

    def write(kind=None, ids=()):
        write_scored(root, DESCRIPTOR, scored, dtype="f16", version="v1")
        tables = {
            "cells": {
                "cell": pa.array([3, 0, 1, 1, 2], pa.int32()),
                "centre_distance": [0.1, 0.2, 0.3, 0.4, 0.5],
                "signature": pa.array(range(5), pa.int32()),
            },
            "density": {"density": [5.0, 4.0, 3.0, 2.0, 1.0]},
        }
        for name, columns in tables.items():
            table = pa.table({"pair_id": list(ids) if name == kind else [9, 4, 7, 1, 0], **columns})
            storage.write_table(file_of(root, name, DESCRIPTOR), table)
        return root

    return write


def test_each_column_is_read_from_its_folder_in_the_order_asked_for(folders, scored):
    columns = ("density", "entropy", "cell", "centre_distance", "signature")
    block = read_scores(folders(), DESCRIPTOR, columns)
    assert tuple(block.columns) == columns
    assert block.columns["density"].tolist() == [5.0, 4.0, 3.0, 2.0, 1.0]
    assert block.columns["cell"].tolist() == [3, 0, 1, 1, 2]
    assert block.columns["centre_distance"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert {values.dtype for values in block.columns.values()} == {np.dtype(np.float64)}
    np.testing.assert_array_equal(block.columns["entropy"], scored.block.columns["entropy"])


@pytest.mark.parametrize("kind", ["cells", "density"])
def test_folders_that_hold_other_pairs_are_named(folders, kind):
    root = folders(kind, [9, 4, 1, 7, 0])
    column = {"cells": "cell", "density": "density"}[kind]
    with pytest.raises(StorageError, match=rf"{kind}/train-000003.*pair_id 1 at row 2, but the scores hold 7"):
        read_scores(root, DESCRIPTOR, (column,))
    assert len(read_scores(root, DESCRIPTOR, ("entropy",))) == 5


def test_folders_that_were_not_made_are_named(tmp_path, scored):
    write_scored(str(tmp_path), DESCRIPTOR, scored, dtype="f16", version="v1")
    with pytest.raises(StorageError, match=r"density/train-000003\.parquet"):
        read_scores(str(tmp_path), DESCRIPTOR, ("density",))


@pytest.mark.parametrize(("key", "value"), [(b"dtype", b"f36"), (b"width", b"8x"), (b"dtype", None)])
def test_embeddings_whose_description_is_damaged_are_named(tmp_path, scored, key, value):
    write_scored(str(tmp_path), DESCRIPTOR, scored, dtype="f16", version="v1")
    path = file_of(str(tmp_path), "embeddings", DESCRIPTOR)
    table = storage.read_table(path)
    kept = {name: text for name, text in table.schema.field("image_embedding").metadata.items() if name != key}
    field = table.schema.field("image_embedding").with_metadata(kept | ({key: value} if value else {}))
    storage.write_table(path, table.cast(table.schema.set(table.schema.get_field_index("image_embedding"), field)), compression="none")
    with pytest.raises(StorageError, match=r"train-000003\.parquet: damaged, column 'image_embedding' says dtype"):
        read_matrices(str(tmp_path), "embeddings", DESCRIPTOR, EMBEDDINGS)


def test_a_score_that_was_changed_is_refused(tmp_path, scored):
    write_scored(str(tmp_path), DESCRIPTOR, scored, dtype="f16", version="v1")
    path = file_of(str(tmp_path), "scores", DESCRIPTOR)
    table = storage.read_table(path)
    storage.write_table(path, table.set_column(table.column_names.index("margin"), "margin", pa.array([0.5] * 5)).cast(table.schema))
    with pytest.raises(StorageError, match=r"train-000003\.parquet: damaged, column 'margin' is not what was written"):
        read_scores(str(tmp_path), DESCRIPTOR, ("margin",))
    assert list(read_scores(str(tmp_path), DESCRIPTOR, ("entropy",)).columns) == ["entropy"]
