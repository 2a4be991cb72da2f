import numpy as np
import pytest

from xmr_ray.errors import StorageError
from xmr_ray.scoring.outputs import EMBEDDINGS, ScoredPairs, file_of, is_written, read_matrices, read_scores, write_scored
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
    assert not is_written(root, DESCRIPTOR, "v1")
    write_scored(root, DESCRIPTOR, scored, dtype="f16", version="v1")
    assert is_written(root, DESCRIPTOR, "v1")
    assert not is_written(root, DESCRIPTOR, "v2")
    with open(file_of(root, "scores", DESCRIPTOR), "wb") as file:
        file.write(b"PAR1 torn")
    assert not is_written(root, DESCRIPTOR, "v1")


def test_a_column_that_was_not_scored_is_named(tmp_path, scored):
    write_scored(str(tmp_path), DESCRIPTOR, scored, dtype="f16", version="v1")
    with pytest.raises(StorageError, match="informativeness"):
        read_scores(str(tmp_path), DESCRIPTOR, ("informativeness",))
