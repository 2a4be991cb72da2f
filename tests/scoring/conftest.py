"""Rounds whose embeddings and predictions were made by hand."""

import numpy as np
import pyarrow as pa
import pytest

from xmr_ray import storage
from xmr_ray.corpus.columns import feature_array, feature_field
from xmr_ray.scoring.outputs import file_of
from xmr_ray.scoring.points import PointSource
from xmr_ray.types import Descriptor


def write_matrices(root, kind, descriptor, ids, columns):
    fields = [pa.field("pair_id", pa.int64(), nullable=False), *(feature_field(name, "f32", values.shape[1]) for name, values in columns.items())]
    arrays = [pa.array(ids), *(feature_array(values.astype(np.float32), "f32") for values in columns.values())]
    storage.write_table(file_of(root, kind, descriptor), pa.Table.from_arrays(arrays, schema=pa.schema(fields)))


@pytest.fixture
def write_round(tmp_path):
    """Writes points as fused means, `rows` in each descriptor, below a folder of their own; ids may be in any order."""

    def write(ids, points, *, rows, name="round", space="fused", multi_label=True):
        starts = range(0, len(ids), rows)
        descriptors = tuple(Descriptor(i, "train", "none.parquet", i, len(ids[start : start + rows])) for i, start in enumerate(starts))
        root = str(tmp_path / name)
        for descriptor, start in zip(descriptors, starts, strict=True):
            part = slice(start, start + rows)
            write_matrices(root, "embeddings", descriptor, ids[part], {"fused_mean": points[part]})
        return PointSource(root, space, multi_label, descriptors)

    return write


@pytest.fixture
def clustered():
    """900 points in 12 clusters of 8 dimensions, with ids beyond 32 bits in no order."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(12, 8))[rng.integers(0, 12, 900)] + 0.2 * rng.normal(size=(900, 8))
    return rng.permutation(5000)[:900] + 2**33, points.astype(np.float32)
