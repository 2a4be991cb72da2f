"""One round over a large synthetic pool: seconds and memory by stage, and scoring beside the same loop written by hand.

    python benchmarks/round.py --pairs 100000 --shape 4096+300
    python benchmarks/round.py --pairs 100000 --shape 512+512
    python benchmarks/round.py --pairs 30000 100000 300000 --shape 512+512 --no-hand     (exponents over the sizes)

The stages are those of a purchase by `ascmr`: train (with Gaussian heads), score, cells, local density by exact search and by HNSW shards (recall
told), select, evaluate; of several sizes the exponents of the seconds are printed.

Scoring through the engine is compared with a hand-written loop (one process, one prefetch thread, one torch thread or as many as there
are actors, whichever is faster) over the same files with the same networks, in turn, `--repeats` times; the medians and their ratio are
printed. The engine's start-up (actors, imports, loading networks) is measured as the time to score the first few descriptors and told
apart. The same is done for a copy of the corpus with list columns.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xmr_ray import storage
from xmr_ray.cluster.engine import RayEngine
from xmr_ray.cluster.neighbours import find_neighbours
from xmr_ray.cluster.place import place_scoring
from xmr_ray.cluster.score import ScoringJob, score_split
from xmr_ray.cluster.session import open_session
from xmr_ray.config import validate
from xmr_ray.corpus.columns import feature_matrix
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.schema import Manifest
from xmr_ray.corpus.stream import RowGroupReader, prefetch
from xmr_ray.corpus.truth import open_truth
from xmr_ray.geometry.hnsw import Hnsw
from xmr_ray.geometry.neighbours import Exact
from xmr_ray.loop.state import networks_of
from xmr_ray.networks import NetworkDims
from xmr_ray.networks.round import RoundNetworks
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import SyntheticReader
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.scoring.outputs import write_scored
from xmr_ray.scoring.scorer import PairScorer
from xmr_ray.strategies.ascmr import Ascmr
from xmr_ray.strategies.choose import choose_over
from xmr_ray.strategies.entropy import Entropy
from xmr_ray.strategies.strategy import NO_PAIRS
from xmr_ray.strategies.typical import Typical
from xmr_ray.training.gaussian import HeadSettings, fit_heads
from xmr_ray.training.label_predictor import FitContext
from xmr_ray.training.ranks import Ranks
from xmr_ray.types import widen

MEASURED = {}


def proportional_mb():
    """Memory of this process and all below it, every shared page counted once over all of them (PSS)."""
    own = psutil.Process()
    total = 0
    for process in [own, *own.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 1e6


@contextmanager
def stage(name):
    """Seconds and peak memory of a stage."""
    peak, stop = [proportional_mb()], threading.Event()

    def watch():
        while not stop.wait(0.5):
            peak[0] = max(peak[0], proportional_mb())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    stop.set()
    watcher.join()
    MEASURED[name] = (seconds, peak[0])
    print(f"{name:<34} {seconds:8.1f} s   peak {peak[0]:8.0f} MB", flush=True)


def with_list_columns(corpus, path):
    """A copy of a corpus with list<float32> feature columns in snappy files, as a default writer would make them."""
    shutil.copytree(corpus.path, path)
    schema = corpus.schema.model_copy(update={"image_dtype": "f32", "text_dtype": "f32"})
    splits = {}
    for split, entries in corpus.manifest.splits.items():
        splits[split] = []
        for entry in entries:
            inner = os.path.join(path, entry.file)
            source = pq.ParquetFile(os.path.join(corpus.path, entry.file))
            with pq.ParquetWriter(inner, _list_schema(source.schema_arrow)) as writer:
                for group in range(source.num_row_groups):
                    writer.write_table(_as_lists(source.read_row_group(group), corpus.schema), row_group_size=1 << 30)
            size = storage.size_of(inner)
            splits[split].append(entry.model_copy(update={"bytes": size, "sha256": storage.digest_file(inner)}))
    manifest = corpus.manifest.model_copy(update={"corpus": schema, "splits": {name: tuple(files) for name, files in splits.items()}})
    storage.write_whole(os.path.join(path, "corpus.json"), Manifest.to_bytes(manifest))
    return PairedCorpus.open(path)


def _list_schema(schema):
    kinds = {"image": pa.list_(pa.float32()), "text": pa.list_(pa.float32())}
    return pa.schema([pa.field(field.name, kinds.get(field.name, field.type)) for field in schema])


def _as_lists(table, schema):
    columns = {}
    for name in table.column_names:
        if name not in ("image", "text"):
            columns[name] = table[name]
            continue
        dtype, width = getattr(schema, f"{name}_dtype"), getattr(schema, f"{name}_dim")
        values = widen(feature_matrix(table[name], dtype=dtype, width=width, where=name), dtype)
        offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * width)
        columns[name] = pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
    return pa.table(columns, schema=_list_schema(table.schema))


def hand_loop(corpus, networks_path, output, *, threads, batch_size):
    """Seconds for the same work without Ray: read ahead with one thread, score, write."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    scorer = PairScorer(
        RoundNetworks.load(networks_path, torch.device("cpu")),
        multi_label=corpus.schema.multi_label,
        batch_size=batch_size,
        device=torch.device("cpu"),
    )
    for descriptor, batch in prefetch(RowGroupReader(corpus), corpus.descriptors("train")):
        write_scored(output, descriptor, scorer.score(batch), dtype="f16", version="hand")
    return time.perf_counter() - started


def engine_pass(session, corpus, config, networks, output, *, count):
    """Seconds to score the first `count` train descriptors through Ray Data."""
    placement = place_scoring(session, config.scoring, config.resources, num_pairs=corpus.num_pairs("train"))
    job = ScoringJob(corpus.path, "train", networks, output, config.scoring.batch_size, "f16", placement.threads, False)
    started = time.perf_counter()
    score_split(job, corpus.descriptors("train")[:count], placement)
    return time.perf_counter() - started, placement


def compare_scoring(session, corpus, config, networks, folder, *, repeats, label):
    """The engine and the hand loop in turn; prints medians, start-up and the ratio of rates."""
    total = len(corpus.descriptors("train"))
    few = 2
    whole, start, hand = [], [], []
    for repeat in range(repeats):
        first, placement = engine_pass(session, corpus, config, networks, f"{folder}/few-{label}-{repeat}", count=few)
        seconds, _ = engine_pass(session, corpus, config, networks, f"{folder}/engine-{label}-{repeat}", count=total)
        written = f"{folder}/hand-{label}-{repeat}"
        size = config.scoring.batch_size
        hand.append(min(hand_loop(corpus, networks.path, written, threads=threads, batch_size=size) for threads in {1, placement.count}))
        per_descriptor = (seconds - first) / (total - few)
        start.append(first - few * per_descriptor)
        whole.append(seconds)
        for kind in ("few", "engine", "hand"):
            shutil.rmtree(f"{folder}/{kind}-{label}-{repeat}", ignore_errors=True)
    engine, loop, startup = statistics.median(whole), statistics.median(hand), statistics.median(start)
    pairs = corpus.num_pairs("train")
    print(
        f"scoring {label}: engine {engine:.1f} s (start-up {startup:.1f} s), hand loop {loop:.1f} s; "
        f"rate without start-up {loop / (engine - startup):.2f} of the hand loop's, with it {loop / engine:.2f}; "
        f"{pairs / (engine - startup):,.0f} pairs/s against {pairs / loop:,.0f}",
        flush=True,
    )


def fit_heads_alone(corpus, networks_path):
    """The Gaussian heads as a fit makes them after stage 2, without the rest of the fit."""
    torch.set_num_threads(1)
    schema = corpus.schema
    dims = NetworkDims(image_dim=schema.image_dim, text_dim=schema.text_dim, num_classes=schema.num_classes, multi_label=schema.multi_label)
    context = FitContext(dims, corpus.statistics(), Ranks.single(), torch.device("cpu"), "f32", 0, 0)
    fit_heads(HeadSettings(), corpus, RoundNetworks.load(networks_path).common_space, context, on_epoch=[].append)


def density_stage(session, corpus, config, place, networks, neighbours):
    """Local density with one backend; its folder is removed, so that the next one starts anew."""
    settings = config.scoring.model_copy(update={"neighbours": neighbours})
    with stage(f"density ({neighbours.kind})"):
        chosen = find_neighbours(
            corpus, place.path, settings, space=config.scoring.cell_space, seed=0, version=networks.digest, cluster_cpus=session.cpus
        )
    tried = ", ".join(f"ef {trial.ef}: recall {trial.recall:.4f}" for trial in chosen.trials)
    print(f"    backend {chosen.backend}, {chosen.num_shards} shards; {tried or 'exact'}", flush=True)
    if neighbours.kind == "exact":
        shutil.rmtree(place.folder("density"))


def one_round(arguments, num_pairs, folder):
    """Every stage of a round over `num_pairs` pairs."""
    image_dim, text_dim = map(int, arguments.shape.split("+"))
    settings = {"name": "round", "storage_path": folder, "corpus": {"path": f"{folder}/corpus"}, "strategy": {"kind": "ascmr"}}
    if arguments.steps is not None:
        settings["training"] = {"label_predictor": {"steps": arguments.steps}, "common_space": {"steps": arguments.steps}}
    config = validate(settings, where="benchmark")
    reader = SyntheticReader(
        num_train=num_pairs, num_validation=0, num_test=2500, image_dim=image_dim, text_dim=text_dim, num_classes=20, dtype="bf16"
    )
    with stage("ingest (generate and write)"):
        corpus = ingest(reader.read(), config.corpus.path)
    directory = RunDirectory(f"{folder}/run")
    place = directory.round(0)
    with open_session(config.resources) as session:
        engine = RayEngine(session, corpus, config, directory)
        with stage("seed purchase (typical)"):
            selection = engine.choose_by_features(Typical(), bought=NO_PAIRS, n=arguments.bought, seed=0, round_index=0)
        with stage("train (both stages, heads)"):
            engine.train(place, bought=open_truth(corpus, "train").take(selection.pair_ids_n), seed=0)
        networks = networks_of(place)
        with stage("heads (part of train)"):
            fit_heads_alone(corpus, networks.path)
        with stage("score the pool"):
            engine.score_pool(place, networks)
        with stage("cells"):
            engine.fit_cells(place, networks, num_labels=2 * arguments.bought, seed=0)
        density_stage(session, corpus, config, place, networks, Exact())
        density_stage(session, corpus, config, place, networks, Hnsw())
        for name, strategy in (("entropy", Entropy()), ("ascmr", Ascmr()), ("ascmr, penalised", Ascmr(variant="penalised"))):
            with stage(f"select ({name})"):
                choose_over(
                    lambda function, merge, strategy=strategy: engine.reduce_scores(place, strategy.needs, function, merge),
                    strategy,
                    bought=selection.pair_ids_n,
                    n=arguments.bought,
                    seed=0,
                    round_index=1,
                )
        with stage("evaluate (2,500 test pairs)"):
            engine.evaluate(place, networks)
        if not arguments.no_hand:
            compare_scoring(session, corpus, config, networks, folder, repeats=arguments.repeats, label="fixed-size binary bf16")
            if not arguments.no_lists:
                lists = with_list_columns(corpus, f"{folder}/lists")
                compare_scoring(session, lists, config, networks, folder, repeats=arguments.repeats, label="list<float32> snappy")


def print_exponents(measured):
    """The slope of log seconds over log pairs, by stage."""
    sizes = sorted(measured)
    for name in measured[sizes[0]]:
        seconds = [measured[size][name][0] for size in sizes]
        slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
        print(f"{name:<34} exponent {slope:5.2f}   us a pair {[round(1e6 * value / size, 1) for value, size in zip(seconds, sizes, strict=True)]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000])
    parser.add_argument("--shape", default="4096+300")
    parser.add_argument("--bought", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="override training steps of both stages, to shorten the fit")
    parser.add_argument("--no-hand", action="store_true", help="leave out the comparison with the hand-written loop")
    parser.add_argument("--no-lists", action="store_true", help="leave out the list-column copy (it needs 4 bytes a number on disk)")
    parser.add_argument("--folder", default=None)
    arguments = parser.parse_args()
    measured = {}
    for num_pairs in arguments.pairs:
        print(
            f"load {os.getloadavg()[0]:.1f}  cores {os.cpu_count()}  torch {torch.__version__}  pairs {num_pairs:,}  shape {arguments.shape}",
            flush=True,
        )
        folder = tempfile.mkdtemp(prefix="xmr-round-", dir=arguments.folder)
        try:
            one_round(arguments, num_pairs, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        measured[num_pairs] = dict(MEASURED)
    if len(measured) > 1:
        print_exponents(measured)


if __name__ == "__main__":
    main()
