"""A small npz dataset with captions and thumbnails, and a small Parquet one, as outside datasets look."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def npz_arrays(num_rows=60, *, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_rows, 4)) < 0.4).astype(np.uint8)
    labels[np.arange(num_rows), rng.integers(4, size=num_rows)] = 1
    return {
        "image_features": rng.normal(size=(num_rows, 6)).astype(np.float16),
        "text_features": rng.normal(size=(num_rows, 3)).astype(np.float16),
        "labels": labels,
        "label_names": np.array(["person", "cat", "dog", "bus"]),
        "split": np.array([0, 0, 2, 0, 1, 0] * (num_rows // 6), dtype=np.uint8),
    }


@pytest.fixture
def npz_folder(tmp_path):
    arrays = npz_arrays()
    np.savez(tmp_path / "data.npz", **arrays)
    lines = [json.dumps({"text": f"caption {i}", "path": f"p{i}"}) for i in range(60)]
    (tmp_path / "items.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    thumbnails = pa.table({"row": list(range(0, 60, 2)), "webp": [b"image %d" % i for i in range(0, 60, 2)]})
    pq.write_table(thumbnails, tmp_path / "thumbnails.parquet")
    return tmp_path


@pytest.fixture
def save_npz(tmp_path):
    """Write an npz file whose arrays are changed; None leaves an array out."""

    def save(name="data.npz", **changes):
        arrays = {key: value for key, value in {**npz_arrays(), **changes}.items() if value is not None}
        np.savez(tmp_path / name, **arrays)
        return str(tmp_path / name)

    return save


def make_table(start, stop, *, width=4):
    rows = range(start, stop)
    return pa.table(
        {
            "key": pa.array([100 + i for i in rows], type=pa.int32()),
            "image": pa.array([[float(i), *[0.5] * (width - 1)] for i in rows], type=pa.list_(pa.float32())),
            "text": pa.array([[float(-i), 1.0] for i in rows], type=pa.list_(pa.float16(), 2)),
            "tags": [[("cat", "dog", "bus")[i % 3]] + (["sky"] if i % 2 else []) for i in rows],
            "title": [f"title {i}" for i in rows],
            "part": [("train", "train", "val", "test")[i % 4] for i in rows],
        }
    )


@pytest.fixture
def parquet_table():
    return make_table


@pytest.fixture
def parquet_folder(tmp_path):
    folder = tmp_path / "parquet"
    folder.mkdir()
    for i, (start, stop) in enumerate([(0, 25), (25, 30), (30, 70)]):
        pq.write_table(make_table(start, stop), folder / f"part-{i}.parquet", row_group_size=10)
    return folder
