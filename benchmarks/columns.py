"""Reading features from Parquet: fixed-size binary beside list columns and beside a copy from a memory-mapped array.

python benchmarks/columns.py [--rows 16384] [--image-dim 4096] [--text-dim 300] [--repeats 7]

One thread, page cache warm, candidates alternated within each repeat; medians of microseconds per pair and ratios to the memory-mapped
copy and to the default layout (lists of float32, snappy). "verified" checks page checksums, as the corpus does for the first read of a
row group by each reader.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmr_ray.corpus.columns import feature_array, feature_field, feature_matrix, stored_as
from xmr_ray.corpus.stream import open_parquet
from xmr_ray.types import FeatureDtype

ROW_GROUP = 2048
REFERENCE, DEFAULT = "memory-mapped copy, bf16", "list<f32>, snappy (the writer's default)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--image-dim", type=int, default=4096)
    parser.add_argument("--text-dim", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        widths = {"image": arguments.image_dim, "text": arguments.text_dim}
        candidates, sizes = prepare(Path(folder), widths, arguments.rows)
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for repeat in range(arguments.repeats + 1):
            for name, read in candidates.items():
                start = time.perf_counter()
                read()
                if repeat:
                    seconds[name].append(time.perf_counter() - start)
    report(seconds, sizes, num_rows=arguments.rows)


def prepare(folder: Path, widths: dict[str, int], num_rows: int) -> tuple[dict[str, Callable[[], None]], dict[str, int]]:
    """The readers to be timed, and bytes per pair of what they read."""
    rng = np.random.default_rng(0)
    features = {name: np.maximum(rng.standard_normal((num_rows, width), dtype=np.float32), 0) for name, width in widths.items()}
    candidates: dict[str, Callable[[], None]] = {}
    sizes: dict[str, int] = {}

    stored = {name: stored_as(matrix, "bf16") for name, matrix in features.items()}
    for name, matrix in stored.items():
        np.save(folder / f"{name}.npy", matrix)
    mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in widths}
    candidates[REFERENCE] = lambda: copy_mapped(mapped, num_rows)
    sizes[REFERENCE] = sum(matrix.nbytes for matrix in stored.values())

    for dtype in ("bf16", "f16", "f32"):
        add(candidates, sizes, folder, f"fixed-size binary {dtype}", binary_table(features, dtype), widths, dtype, verify=True)
    add(candidates, sizes, folder, "fixed-size binary bf16, lz4", binary_table(features, "bf16"), widths, "bf16", compression="lz4")
    lists = pa.table({name: pa.array(list(matrix), type=pa.list_(pa.float32())) for name, matrix in features.items()})
    add(candidates, sizes, folder, DEFAULT, lists, widths, "f32", compression="snappy", use_dictionary=True)
    add(candidates, sizes, folder, "list<f32>, uncompressed", lists, widths, "f32")
    fixed = pa.table({name: pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), widths[name]) for name, matrix in features.items()})
    add(candidates, sizes, folder, "fixed_size_list<f32>, uncompressed", fixed, widths, "f32")
    return candidates, sizes


def binary_table(features: dict[str, np.ndarray], dtype: FeatureDtype) -> pa.Table:
    columns = [feature_array(stored_as(matrix, dtype), dtype) for matrix in features.values()]
    return pa.table(columns, schema=pa.schema([feature_field(name, dtype, matrix.shape[1]) for name, matrix in features.items()]))


def add(
    candidates: dict,
    sizes: dict,
    folder: Path,
    name: str,
    table: pa.Table,
    widths: dict[str, int],
    dtype: FeatureDtype,
    *,
    verify: bool = False,
    **options,
) -> None:
    path = folder / f"{len(candidates)}.parquet"
    defaults = {"compression": "NONE", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    pq.write_table(table, path, row_group_size=ROW_GROUP, **{**defaults, **options})
    verified, trusted = open_parquet(str(path)), open_parquet(str(path), verify=False)
    if verify:
        candidates[f"{name}, verified"] = lambda: read_all(verified, widths, dtype)
    candidates[name] = lambda: read_all(trusted, widths, dtype)
    sizes[name] = sizes[f"{name}, verified"] = path.stat().st_size


def read_all(file: pq.ParquetFile, widths: dict[str, int], dtype: FeatureDtype) -> None:
    """As the corpus reads: one row group after the other, into matrices."""
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=list(widths), use_threads=False)
        for name, width in widths.items():
            feature_matrix(table.column(name), dtype=dtype, width=width, where=name)


def copy_mapped(mapped: dict[str, np.ndarray], num_rows: int) -> None:
    for start in range(0, num_rows, ROW_GROUP):
        for matrix in mapped.values():
            np.array(matrix[start : start + ROW_GROUP])


def report(seconds: dict[str, list[float]], sizes: dict[str, int], *, num_rows: int) -> None:
    reference, default = (np.array(seconds[name]) for name in (REFERENCE, DEFAULT))
    print(f"{'layout':45s} {'us/pair':>8s} {'best':>6s} {'B/pair':>7s} {'of copy':>8s} {'x default':>9s}")
    for name, times in seconds.items():
        micro = [second * 1e6 / num_rows for second in times]
        of_copy, over_default = np.median(reference / np.array(times)), np.median(default / np.array(times))
        print(f"{name:45s} {statistics.median(micro):8.2f} {min(micro):6.2f} {sizes[name] // num_rows:7d} {of_copy:8.2f} {over_default:9.1f}")


if __name__ == "__main__":
    main()
