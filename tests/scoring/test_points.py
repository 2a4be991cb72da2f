from pathlib import Path

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.errors import StorageError, StrategyError
from xmr_ray.geometry.hashing import hash_sample
from xmr_ray.scoring.outputs import ScoredPairs, file_of, is_current, write_scored
from xmr_ray.scoring.points import (
    PointSource,
    gather_points,
    hellinger_points,
    join_points,
    merge_samples,
    sample_ids,
    version_of,
    write_columns,
)
from xmr_ray.types import Descriptor, ScoreBlock

DRAWN = {"size": 70, "seed": 3, "round_index": 2, "purpose": "test"}


def test_fused_points_come_back_in_the_order_of_the_descriptor(write_round, clustered):
    ids, points = clustered
    source = write_round(ids, points, rows=128)
    assert source.num_points == 900
    read = [source.read(descriptor) for descriptor in source.descriptors]
    np.testing.assert_array_equal(np.concatenate([part.ids_B for part in read]), ids)
    np.testing.assert_array_equal(np.concatenate([part.points_BD for part in read]), points)
    np.testing.assert_array_equal(source.read_ids(source.descriptors[3]), ids[384:512])


@pytest.mark.parametrize("multi_label", [False, True])
def test_spaces_without_heads_come_from_what_scoring_writes(tmp_path, multi_label):
    rng = np.random.default_rng(0)
    towers = {name: rng.random((6, 4), dtype=np.float32) for name in ("image_embedding", "text_embedding", "image_probability", "text_probability")}
    probabilities = rng.random((6, 3), dtype=np.float32)
    descriptor = Descriptor(0, "train", "none", 0, 6)
    write_scored(str(tmp_path), descriptor, ScoredPairs(ScoreBlock(np.arange(6)), probabilities, towers), dtype="f32", version="v")
    embedding, prediction = (PointSource(str(tmp_path), space, multi_label, (descriptor,)) for space in ("embedding", "prediction"))
    middle = (towers["image_embedding"] + towers["text_embedding"]) / 2
    np.testing.assert_allclose(embedding.read(descriptor).points_BD, middle, rtol=1e-6)
    np.testing.assert_allclose(prediction.read(descriptor).points_BD, hellinger_points(probabilities, multi_label=multi_label))
    assert prediction.read_ids(descriptor).tolist() == list(range(6))
    fused = PointSource(str(tmp_path), "fused", multi_label, (descriptor,))
    with pytest.raises(StorageError, match="fused_mean"):
        fused.read(descriptor)


def test_distances_between_predictions_are_hellinger_distances():
    one, other = np.float32([[0.2, 0.3, 0.5]]), np.float32([[0.6, 0.3, 0.1]])
    single = sum((p**0.5 - q**0.5) ** 2 for p, q in zip(one[0], other[0], strict=True))
    several = single + sum(((1 - p) ** 0.5 - (1 - q) ** 0.5) ** 2 for p, q in zip(one[0], other[0], strict=True))
    for multi_label, expected in ((False, single), (True, several)):
        far = hellinger_points(one, multi_label=multi_label) - hellinger_points(other, multi_label=multi_label)
        assert float((far**2).sum()) == pytest.approx(expected, rel=1e-5)
    assert hellinger_points(np.float32([[1.0000001, -1e-9]]), multi_label=True).tolist() == [[1, 0, 0, 1]]


def test_a_point_that_is_not_finite_is_named(write_round, clustered):
    ids, points = clustered
    points[130, 2] = np.nan
    source = write_round(ids, points, rows=100)
    source.read(source.descriptors[0])
    with pytest.raises(StrategyError, match=str(ids[130])):
        source.read(source.descriptors[1])


def test_the_sample_is_that_of_all_pairs_whatever_the_sharding(write_round, clustered):
    ids, points = clustered
    expected = hash_sample(ids, **DRAWN)
    for rows in (40, 333, 900):
        source = write_round(ids, points, rows=rows, name=str(rows))
        middle = len(source.descriptors) // 2
        halves = [sample_ids(source, part, **DRAWN) for part in (source.descriptors[middle:], source.descriptors[:middle])]
        drawn = merge_samples(halves, **DRAWN)
        assert drawn.tolist() == expected.tolist()
        gathered = join_points([gather_points(source, [descriptor], drawn) for descriptor in reversed(source.descriptors)])
        assert gathered.ids_B.tolist() == expected.tolist()
        np.testing.assert_array_equal(gathered.points_BD, points[[ids.tolist().index(pair_id) for pair_id in expected]])
    with pytest.raises(StrategyError, match="no train pair"):
        join_points([])


def test_columns_are_current_for_their_version_alone(tmp_path):
    root, descriptor = str(tmp_path), Descriptor(2, "train", "none", 0, 3)
    assert not is_current(root, "cells", descriptor, version="a")
    write_columns(root, "cells", descriptor, np.arange(3), {"cell": np.int32([4, 5, 6])}, version="a")
    assert is_current(root, "cells", descriptor, version="a")
    assert not is_current(root, "cells", descriptor, version="b")
    assert storage.read_table(file_of(root, "cells", descriptor)).to_pydict() == {"pair_id": [0, 1, 2], "cell": [4, 5, 6]}
    Path(file_of(root, "cells", descriptor)).write_bytes(b"cut off")
    assert not is_current(root, "cells", descriptor, version="a")


def test_versions_differ_with_every_setting_and_not_with_their_order():
    assert version_of("v", a=1, b=2) == version_of("v", b=2, a=1)
    assert len({version_of("v", a=1), version_of("v", a=2), version_of("w", a=1), version_of("v", b=1)}) == 4


def test_feature_points_are_both_modalities_standardised_and_of_equal_length(tiny_corpus):
    source = PointSource.of(tiny_corpus, "nowhere", "feature")
    descriptor = source.descriptors[2]
    found, batch, statistics = source.read(descriptor), tiny_corpus.read(descriptor), tiny_corpus.statistics()
    rows = []
    for image, text in zip(batch.images(), batch.texts(), strict=True):
        sides = [(image - statistics.image_mean_I) / statistics.image_std_I, (text - statistics.text_mean_T) / statistics.text_std_T]
        rows.append(np.concatenate([side / np.linalg.norm(side) for side in sides]) / np.sqrt(2))
    np.testing.assert_allclose(found.points_BD, rows, atol=1e-5)
    np.testing.assert_array_equal(found.ids_B, source.read_ids(descriptor))
