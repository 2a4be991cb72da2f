"""Nearest neighbours of a whole pool: exact blocked search against the index, one thread each.

    python benchmarks/density.py --points 100000 --dim 256            # N/4, N/2 and N points
    python benchmarks/density.py --points 100000 300000 --dim 128 --ef 64 128

Synthetic clustered points of unit length, clusters of skewed sizes. Every measurement runs in a process of its own. Every point is a query;
of exact search at most `--queries` are timed, by blocks as the tasks of a run take them, and the seconds of all are told from these (marked ~).
Recall and the rank correlation of the densities are measured on a hash sample against exact search. Memory is what the process held at most
beyond the points. Seconds are CPU-seconds; the exponent is the slope of their logarithm over that of the points.
"""

import argparse
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from xmr_ray.geometry.hashing import hash_sample
from xmr_ray.geometry.hnsw import Hnsw
from xmr_ray.geometry.nearest import measure_recall
from xmr_ray.geometry.neighbours import Exact
from xmr_ray.geometry.threads import one_thread
from xmr_ray.scoring.density import kernel_bandwidth, local_density


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--points", type=int, nargs="+", default=[20_000], help="one number: a quarter, a half and all of it")
    options.add_argument("--dim", type=int, default=64)
    options.add_argument("--k", type=int, default=16)
    options.add_argument("--ef", type=int, nargs="+", default=[Hnsw().ef])
    options.add_argument("--queries", type=int, default=20_000, help="queries of exact search that are timed")
    options.add_argument("--sample", type=int, default=1000, help="queries that recall is measured on")
    chosen = options.parse_args()
    sizes = [chosen.points[0] // 4, chosen.points[0] // 2, chosen.points[0]] if len(chosen.points) == 1 else chosen.points
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, one thread each, numpy {np.__version__}, k {chosen.k}")
    print(f"{'points':>8} {'dim':>4} {'backend':>12} {'CPU-s':>9} {'us/item':>8} {'recall':>7} {'rank cor.':>9} {'MiB':>6} {'exponent':>8}")
    for backend in ["exact", *(f"hnsw ef {ef}" for ef in chosen.ef)]:
        found: list[tuple[int, float]] = []
        for num_points in sizes:
            row = in_a_process(backend, num_points, chosen)
            found.append((num_points, row["seconds"]))
            told = f"{'~' if row['extrapolated'] else ''}{row['seconds']:.1f}"
            print(
                f"{num_points:>8} {chosen.dim:>4} {backend:>12} {told:>9} {1e6 * row['seconds'] / num_points:>8.1f} {row['recall']:>7.4f} "
                f"{row['correlation']:>9.4f} {row['mib']:>6.0f} {exponent(found):>8}",
                flush=True,
            )
    return 0


def exponent(found: list[tuple[int, float]]) -> str:
    if len(found) < 2:
        return ""
    points, seconds = np.log(np.array(found)).T
    return f"{np.polyfit(points, seconds, 1)[0]:.2f}"


def in_a_process(backend: str, num_points: int, chosen: argparse.Namespace) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=measure, args=(theirs, backend, num_points, chosen))
    process.start()
    theirs.close()
    row: dict[str, Any] = ours.recv()
    process.join()
    return row


def measure(pipe: Any, backend: str, num_points: int, chosen: argparse.Namespace) -> None:
    points_ND, k = clustered_points(num_points, chosen.dim), chosen.k
    rows_N = np.arange(num_points)
    sample_S = hash_sample(rows_N, size=chosen.sample, seed=0)
    with one_thread():
        timed = rows_N[: chosen.queries] if backend == "exact" else rows_N
        searcher = Exact() if backend == "exact" else Hnsw(ef=int(backend.rsplit(maxsplit=1)[-1]))
        with PeakMemory() as peak:
            start = time.process_time()
            lists = searcher.search(points_ND[timed], points_ND, k=k, own_rows_Q=timed)
            seconds = time.process_time() - start
        exact = Exact().search(points_ND[sample_S], points_ND, k=k, own_rows_Q=sample_S)
    compared = sample_S[sample_S < len(timed)]
    rows = np.searchsorted(sample_S, compared)
    here = type(lists)(lists.ids_QK[compared], lists.squares_QK[compared])
    there = type(exact)(exact.ids_QK[rows], exact.squares_QK[rows])
    bandwidth = kernel_bandwidth(exact.squares_QK)
    densities = [local_density(part.squares_QK, bandwidth=bandwidth) for part in (here, there)]
    result = {"seconds": seconds * num_points / len(timed), "extrapolated": len(timed) < num_points, "mib": peak.mib}
    pipe.send(result | {"recall": measure_recall(here, there), "correlation": float(spearmanr(*densities).statistic)})


def clustered_points(num_points: int, dim: int) -> NDArray[np.float32]:
    """Unit vectors around 200 directions; the sizes of the clusters fall like 1 / rank, and their widths vary."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 201)
    cluster_N = rng.choice(200, num_points, p=shares / shares.sum())
    centres, widths = rng.standard_normal((200, dim), dtype=np.float32), rng.uniform(0.3, 1.0, 200).astype(np.float32)
    points_ND = rng.standard_normal((num_points, dim), dtype=np.float32)
    points_ND *= widths[cluster_N, None]
    points_ND += centres[cluster_N]
    points_ND /= np.linalg.norm(points_ND, axis=1, keepdims=True)
    return points_ND


class PeakMemory:
    """What the process holds at most while it lasts, beyond what it held at first, by looking every 20 ms."""

    def __enter__(self) -> "PeakMemory":
        self._process, self._done = psutil.Process(), threading.Event()
        self._first = self._most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.mib = (self._most - self._first) / 2**20

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._most = max(self._most, self._process.memory_info().rss)


if __name__ == "__main__":
    sys.exit(main())
