"""Exact mAP: packed keys against the method of the published evaluations of this field; time, equality, growth.

    python benchmarks/retrieval.py            # 2,500 x 2,500, D = 1024, five repeats; then 5,000 queries over up to 20,000 items, D = 512
    python benchmarks/retrieval.py --quick    # 600 x 600, D = 256

The published method, written here from its description: the full matrix of float64 cosine distances (scipy `cdist`), then for each query an
argsort and the mean of the precisions at its relevant ranks, in numpy. One thread each, alternated in one process; medians of CPU-seconds.
Goal: at least 15 times faster per core at 2,500 x 2,500, D = 1024, with a difference of at most 1e-6.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from xmr_ray.retrieval import evaluate_direction
from xmr_ray.types import DirectionReport

NUM_LABELS = 21
GOAL = 15.0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, one thread each, numpy {np.__version__}, torch {torch.__version__}")
    with threadpool_limits(limits=1):
        ratio = compare(*((600, 256) if chosen.quick else (2500, 1024)), repeats=chosen.repeats)
    grow([500, 1000, 2000] if chosen.quick else [5000, 10_000, 20_000], num_queries=500 if chosen.quick else 5000, dim=512)
    return 0 if chosen.quick or ratio >= GOAL else 1


def make_space(num_queries: int, num_items: int, dim: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Queries and gallery around label directions, 1 to about 6 of 21 labels each."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        labels = rng.random((count, NUM_LABELS)) < 0.08
        labels[np.arange(count), rng.integers(0, NUM_LABELS, count)] = True
        noise = rng.standard_normal((count, dim), dtype=np.float32)
        return (labels @ directions + 3 * noise).astype(np.float32), labels.astype(np.uint8)

    directions = rng.standard_normal((NUM_LABELS, dim))
    (queries, query_labels), (gallery, gallery_labels) = draw(num_queries), draw(num_items)
    return queries, gallery, query_labels, gallery_labels


def published(
    queries: NDArray[np.float32], gallery: NDArray[np.float32], query_labels: NDArray[np.uint8], gallery_labels: NDArray[np.uint8]
) -> float:
    distances = cdist(queries, gallery, "cosine")
    order = distances.argsort()
    precisions = []
    for query, ranking in enumerate(order):
        relevant = gallery_labels[ranking] @ query_labels[query] > 0
        ranks = np.flatnonzero(relevant) + 1
        if len(ranks):
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean(precisions))


def ours(
    queries: NDArray[np.float32], gallery: NDArray[np.float32], query_labels: NDArray[np.uint8], gallery_labels: NDArray[np.uint8]
) -> DirectionReport:
    return evaluate_direction(
        queries,
        gallery,
        query_ids=np.arange(len(queries)),
        gallery_ids=np.arange(len(gallery)),
        query_labels_QC=query_labels,
        gallery_labels_GC=gallery_labels,
    )


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(size: int, dim: int, *, repeats: int) -> float:
    space = make_space(size, size, dim)
    difference = abs(published(*space) - ours(*space).map_all)
    times: dict[str, list[float]] = {"published": [], "packed keys": []}
    for _ in range(max(3, repeats)):
        times["published"].append(cpu_seconds(lambda: published(*space)))
        times["packed keys"] += [cpu_seconds(lambda: ours(*space)) for _ in range(3)]
    print(f"\n{size:,} x {size:,}, D = {dim}, {NUM_LABELS} labels; difference of mAP {difference:.1e}")
    print(f"{'method':<14}{'median s':>10}{'best s':>10}{'ns/pair':>10}{'runs':>6}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:<14}{median:>10.3f}{min(values):>10.3f}{median / size**2 * 1e9:>10.1f}{len(values):>6}")
    ratio = statistics.median(times["published"]) / statistics.median(times["packed keys"])
    best = min(times["published"]) / min(times["packed keys"])
    print(f"ratio of medians {ratio:.1f} (goal {GOAL:.0f} at 2,500 x 2,500, D = 1024); ratio of best {best:.1f}")
    if difference > 1e-6:
        raise SystemExit(f"mAP differs by {difference:.1e}; expected at most 1e-6")
    return ratio


def measure(folder: str) -> tuple[float, float]:
    """CPU-seconds and peak MB beyond the data and the libraries, in a fresh process."""
    torch.set_num_threads(1)
    space = [np.load(Path(folder) / f"{i}.npy") for i in range(4)]
    ours(*(part[:64] for part in space))
    done = threading.Event()
    before = peak = resident()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with threadpool_limits(limits=1):
        seconds = cpu_seconds(lambda: ours(*space))
    done.set()
    watcher.join()
    return seconds, (peak - before) / 2**20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grow(galleries: list[int], *, num_queries: int, dim: int) -> None:
    print(f"\n{num_queries:,} queries, D = {dim}\n{'gallery':>10}{'CPU s':>10}{'ns/pair':>10}{'MB beyond data':>16}{'all pairs f32, MB':>20}")
    rows = []
    for size in galleries:
        with tempfile.TemporaryDirectory() as folder:
            for i, part in enumerate(make_space(num_queries, size, dim)):
                np.save(Path(folder) / f"{i}.npy", part)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, megabytes = pool.map(measure, [folder])[0]
        rows.append((size, seconds, max(megabytes, 1.0)))
        print(f"{size:>10,}{seconds:>10.2f}{seconds / size / num_queries * 1e9:>10.1f}{megabytes:>16.0f}{num_queries * size * 4 / 2**20:>20.0f}")
    sizes, times, memory = np.log(np.array(rows)).T
    print(f"exponent in the gallery: time {np.polyfit(sizes, times, 1)[0]:.2f}, memory {np.polyfit(sizes, memory, 1)[0]:.2f}")


if __name__ == "__main__":
    sys.exit(main())
