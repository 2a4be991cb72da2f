"""Ingest of many synthetic pairs beside a plain pyarrow writer in the same run: rate, ratio, and peak memory of driver and workers.

    python benchmarks/ingest.py --pairs 1000000 --dims 512 512

The plain writer is one process that draws the same pairs and writes the same columns as row groups of one uncompressed Parquet file after
another, with page checksums, and nothing else: no check, no hash, no statistics, no fsync. Both are timed in turn, `--repeats` times; drawing the
pairs is timed alone as well, because it costs more than writing them. `doctor` checks the result once.
"""

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from xmr_ray.cluster.ingest import write_corpus
from xmr_ray.config import CorpusSettings, Resources
from xmr_ray.corpus.check import check_corpus
from xmr_ray.corpus.columns import feature_array, pairs_schema, stored_as, truth_schema
from xmr_ray.readers.synthetic import SyntheticReader


class Memory(threading.Thread):
    """Peak of the proportional set sizes of this process and all below it, in MB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.done = 0.0, threading.Event()

    def run(self):
        """Sample until told to stop."""
        while not self.done.wait(0.5):
            total, own = 0, psutil.Process()
            for process in [own, *own.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self.peak = max(self.peak, total / 1e6)


def draw(reader):
    return sum(len(records) for _, records in reader.read().shards())


def plain(reader, path, rows_per_file=65536, rows_per_group=4096):
    schema, source = pairs_schema(reader.read().schema), reader.read()
    writers, rows, waiting, total = None, 0, [], 0
    folder = Path(path)
    folder.mkdir()

    def flush():
        nonlocal waiting
        for writer, tables in zip(writers, zip(*waiting, strict=True), strict=True):
            writer.write_table(pa.concat_tables(tables).combine_chunks())
        waiting = []

    for _, records in source.shards():
        if writers is None:
            options = {"compression": "NONE", "use_dictionary": False, "write_page_checksum": True}
            names = [folder / f"{kind}-{total:09d}.parquet" for kind in ("pairs", "truth")]
            writers = [pq.ParquetWriter(name, one, **options) for name, one in zip(names, (schema, truth_schema()), strict=True)]
        columns = [
            pa.array(records.pair_ids),
            *(feature_array(stored_as(part, reader.dtype), reader.dtype) for part in (records.image, records.text)),
        ]
        waiting.append(
            (pa.table(columns, schema=schema), pa.table([columns[0], pa.array(records.labels, truth_schema().field(1).type)], schema=truth_schema()))
        )
        rows, total = rows + len(records), total + len(records)
        if rows % rows_per_group == 0:
            flush()
        if rows >= rows_per_file:
            if waiting:
                flush()
            for writer in writers:
                writer.close()
            writers, rows = None, 0
    if writers:
        if waiting:
            flush()
        for writer in writers:
            writer.close()
    return total


def timed(function, *arguments):
    started = time.monotonic()
    function(*arguments)
    return time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, nargs=2, default=(512, 512))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--folder", default=None, help="where the corpora are written; temporary if left out")
    wanted = parser.parse_args()
    image_dim, text_dim = wanted.dims
    reader = SyntheticReader(num_train=wanted.pairs, num_validation=0, num_test=1000, image_dim=image_dim, text_dim=text_dim, dtype="f16")
    folder = tempfile.mkdtemp(dir=wanted.folder)
    seconds = {"draw": [], "plain": [], "ingest": []}
    peak = 0.0
    try:
        for number in range(wanted.repeats):
            seconds["draw"].append(timed(draw, reader))
            seconds["plain"].append(timed(plain, reader, f"{folder}/plain"))
            shutil.rmtree(f"{folder}/plain")
            memory = Memory()
            memory.start()
            settings, resources = CorpusSettings(path=f"{folder}/corpus"), Resources(num_cpus=wanted.cpus)
            seconds["ingest"].append(timed(write_corpus, reader.read(), settings.path, settings, resources))
            memory.done.set()
            peak = max(peak, memory.peak)
            if number + 1 < wanted.repeats:
                shutil.rmtree(settings.path)
        median = {name: statistics.median(found) for name, found in seconds.items()}
        for name, found in median.items():
            print(f"{name:<7} {found:8.1f} s   {wanted.pairs / found:10.0f} pairs/s")
        print(f"ratio of rates, ingest / plain writer: {median['plain'] / median['ingest']:.2f}; peak memory of driver and workers {peak:.0f} MB")
        started = time.monotonic()
        checked = check_corpus(settings.path)
        print(f"doctor: {'sound' if checked.ok else checked.findings[:3]} in {time.monotonic() - started:.1f} s")
        size = sum(path.stat().st_size for path in Path(settings.path).rglob("*.parquet"))
        print(f"files {size / 1e6:.0f} MB; rows a file {np.unique([entry.rows for entry in pq_entries(settings.path)]).tolist()}")
    finally:
        shutil.rmtree(folder)


def pq_entries(path):
    from xmr_ray.corpus.open import PairedCorpus

    return PairedCorpus.open(path).manifest.splits["train"]


if __name__ == "__main__":
    main()
