"""A round of `tiny_corpus` with fused means, as scoring with Gaussian heads leaves them."""

import numpy as np
import pyarrow as pa
import pytest

from xmr_ray import storage
from xmr_ray.corpus.columns import feature_array, feature_field
from xmr_ray.scoring.outputs import file_of
from xmr_ray.scoring.points import PointSource


@pytest.fixture
def fused(tiny_corpus, tmp_path):
    """Source of the points, every train pair's: a projection of both features onto 12 dimensions."""
    rng = np.random.default_rng(0)
    image, text = (rng.normal(size=(dim, 12)) / dim**0.5 for dim in (tiny_corpus.schema.image_dim, tiny_corpus.schema.text_dim))
    source = PointSource(str(tmp_path / "round"), "fused", tiny_corpus.schema.multi_label, tiny_corpus.descriptors("train"))
    for descriptor in source.descriptors:
        batch = tiny_corpus.read(descriptor)
        points = (batch.images() @ image + batch.texts() @ text).astype(np.float32)
        schema = pa.schema([pa.field("pair_id", pa.int64(), nullable=False), feature_field("fused_mean", "f32", 12)])
        table = pa.Table.from_arrays([pa.array(batch.pair_ids_B), feature_array(points, "f32")], schema=schema)
        storage.write_table(file_of(source.root, "embeddings", descriptor), table)
    return source


@pytest.fixture
def all_points(fused):
    """Ids and points of every pair, in the order of the descriptors."""
    read = [fused.read(descriptor) for descriptor in fused.descriptors]
    return np.concatenate([points.ids_B for points in read]), np.concatenate([points.points_BD for points in read])


@pytest.fixture
def read_columns(fused):
    """Columns of a kind over all descriptors, by name."""

    def read(kind):
        tables = [storage.read_table(file_of(fused.root, kind, descriptor)) for descriptor in fused.descriptors]
        return {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in tables[0].column_names}

    return read
