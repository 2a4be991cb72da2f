"""Scoring as a job: rate, memory, time to the first scores, and what a killed worker costs.

    xmr-ray ingest -c configs/score_ms_coco.yaml && xmr-ray run -c configs/score_ms_coco.yaml
    python benchmarks/score_job.py -c configs/score_ms_coco.yaml
    python benchmarks/score_job.py -c configs/score_ms_coco.yaml --kill          (a scoring worker dies by SIGKILL when half is scored)
    python benchmarks/score_job.py -c configs/score_ms_coco.yaml --submit http://127.0.0.1:8265 --head PID      (`ray job submit` to that head)

Runs `jobs/score.py` in a process of its own after removing the scores of an earlier pass. With --submit, memory is that of the head's processes.
With --kill the files are compared afterwards, column by column, with those of the pass before, which has to be there.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
from memory import proportional_mb

from xmr_ray.cluster.runner import experiment_path, pick
from xmr_ray.config import load
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.runs.directory import RunDirectory

KINDS = ("scores", "embeddings", "predictions")


def kill_a_worker(process):
    """End one scoring actor below a process by SIGKILL; returns its process id."""
    actors = [child for child in process.children(recursive=True) if "ScoringActor" in " ".join(child.cmdline())]
    actors[0].kill()
    return actors[0].pid


def start(arguments):
    """The job, started here or submitted; either way the process ends when the job does."""
    command = ["jobs/score.py", "-c", arguments.config, *arguments.overrides]
    if arguments.submit is None:
        return psutil.Popen([sys.executable, *command], env=os.environ, stdout=subprocess.DEVNULL)
    ray = str(Path(sys.executable).parent / "ray")
    return psutil.Popen([ray, "job", "submit", "--address", arguments.submit, "--working-dir", ".", "--", "python", *command])


def tables(folder):
    return {path.name: pq.read_table(path) for path in sorted(Path(folder).glob("train*.parquet"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", required=True)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--submit", metavar="ADDRESS", help="job API of a head that was started on this machine with `ray start --head --block`")
    parser.add_argument("--head", metavar="PID", type=int, help="process of that `ray start`")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    experiment = load(arguments.config, arguments.overrides)
    corpus = PairedCorpus.open(experiment.corpus.path)
    run = RunDirectory(f"{experiment_path(experiment)}/{pick(experiment, arm=None, seed=None).run_id}")
    place = run.rounds()[-1]
    scores, before = Path(place.folder("scores")), tables(place.folder("scores"))
    if arguments.kill and not before:
        sys.exit(f"{scores}: holds no scores of an earlier pass to compare with; run without --kill first")
    for kind in KINDS:
        for path in Path(place.folder(kind)).glob("train*.parquet"):
            path.unlink()
    total, peak, stop = len(corpus.descriptors("train")), [0.0], threading.Event()
    started = time.monotonic()
    job = start(arguments)
    owner = job if arguments.submit is None else psutil.Process(arguments.head)

    def watch():
        while not stop.wait(1.0) and job.is_running():
            peak[0] = max(peak[0], proportional_mb(owner))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    first, killed, done = None, None, 0
    while job.poll() is None:
        done = len(list(scores.glob("train*.parquet"))) if scores.exists() else 0
        if done and first is None:
            first = time.monotonic() - started
        if arguments.kill and killed is None and done >= total // 2:
            killed = kill_a_worker(owner)
        time.sleep(0.05)
    seconds = time.monotonic() - started
    stop.set()
    watcher.join()
    pairs = corpus.num_pairs("train")
    print(f"exit code {job.returncode}; {pairs:,} pairs in {total} row groups, {seconds:.1f} s in all, first scores after {first or 0:.1f} s")
    print(f"{pairs / (seconds - (first or 0)):,.0f} pairs/s after the first; peak memory of everything {peak[0]:,.0f} MB")
    if arguments.kill:
        after = tables(scores)
        same = before.keys() == after.keys() and all(before[name].equals(after[name]) for name in before)
        print(f"worker {killed} was killed when {total // 2} of {total} were scored; scores equal to those of the pass before: {same}")
        sys.exit(0 if same and killed else 1)
    sys.exit(job.returncode)


if __name__ == "__main__":
    main()
