"""Gear 2: real clusters of a head and two worker nodes on one machine; actors, workers, nodes, drivers and heads are killed with -9.

    python tests/faults/cluster_faults.py --schedules 24 --seed 0 --progress .faults/cluster.jsonl
    python tests/faults/cluster_faults.py --seed 0 --replay 3

Every schedule kills one process (or freezes a node) in a step that its seed names, and compares what the run leaves with an uninterrupted
run on the same cluster. Started again with the same progress file, it goes on behind the schedules that are written there.
"""

import argparse
import collections
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from nodes import LocalCluster
from runs_on_cluster import Place, compare, cut, finished, prepare, start, stop

# what is hurt, and in which step: every combination that the table of faults names
SCHEDULES = (
    ("scoring actor", "score"),
    ("index actor", "index"),
    ("node", "score"),
    ("train worker", "stage 1"),
    ("node", "stage 2"),
    ("node", "evaluate"),
    ("driver", "any"),
    ("node", "ingest"),
    ("writer", "ingest"),
    ("node", "embed"),
    ("train worker", "stage 2"),
    ("node", "stage 1"),
    ("driver", "score"),
    ("head", "any"),
    ("node", "index"),
    ("frozen node", "score"),
    ("scoring actor", "evaluate"),
    ("driver", "stage 2"),
    ("driver", "evaluate"),
    ("writer", "embed"),
)
LIMIT_S = 900.0  # a busy machine is slow, not wrong


def play(cluster, place, what, step, *, seed):
    """One schedule: (was the process hurt, how often was the driver started, what went wrong)."""
    rng = random.Random(seed)
    folder = cut(place, step)
    wait = rng.uniform(0.0, 0.4) if step != "any" else rng.uniform(4.0, 40.0)
    driver, starts, hurt = start(place, folder, step, cluster.address), 1, None
    until = time.monotonic() + LIMIT_S
    try:
        while time.monotonic() < until:
            code = driver.poll()
            if hurt is None and code is None and (victim := find(cluster, folder, what, step, driver, rng)) is not None:
                time.sleep(wait)
                hurt = victim()
            elif code == 0:
                break
            elif code is not None:
                if what not in {"driver", "head"} or hurt is None or starts > 3:
                    return hurt, starts, [f"the driver ended with {code}: {last_lines(driver)}"]
                if what == "head":
                    cluster.start_again()
                driver, starts = start(place, folder, step, cluster.address), starts + 1
            time.sleep(0.02)
        else:
            return hurt, starts, [f"not ended after {LIMIT_S:.0f} s: {last_lines(driver)}"]
    finally:
        stop(driver)
        cluster.mend()
    return hurt, starts, compare(place, folder, step)


def find(cluster, folder, what, step, driver, rng):
    """How to hurt the victim, once its step goes on; None before."""
    if not finished(folder, step):
        return None
    if what in {"driver", "head"}:
        return (lambda: kill_driver(driver)) if what == "driver" else (lambda: cluster.kill_head() or "head")
    names = {"scoring actor": "ScoringActor", "index actor": "LazyShards", "train worker": "RayTrainWorker", "writer": "PartWriter"}
    if what in names:
        found = cluster.workers(names[what])
        return (lambda: cluster.kill(rng.choice(found))) if found else None
    busy = cluster.busy_nodes()
    if not busy:
        return None
    node = rng.choice(busy)
    return (lambda: cluster.freeze(node)) if what == "frozen node" else (lambda: cluster.kill_node(node))


def kill_driver(driver):
    driver.kill()
    return "driver"


def last_lines(driver):
    return " | ".join(Path(driver.log).read_text(errors="replace").splitlines()[-3:])[-600:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=len(SCHEDULES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--progress", help="file that remembers which schedules were run")
    parser.add_argument("--replay", type=int, help="run this one schedule")
    parser.add_argument("--folder", help="where uninterrupted runs are kept for the next start; without it a temporary folder")
    parser.add_argument("--only", nargs="*", type=int, help="run these schedules")
    options = parser.parse_args()
    progress = Path(options.progress) if options.progress else None
    rows = [json.loads(line) for line in progress.read_text().splitlines()] if progress and progress.exists() else []
    rows = [row for row in rows if row["seed"] == options.seed]
    wanted = [options.replay] if options.replay is not None else options.only or range(options.schedules)
    left = [index for index in wanted if index not in {row["index"] for row in rows}]
    root = Path(options.folder or tempfile.mkdtemp(prefix="xmr-faults-")).absolute()
    root.mkdir(parents=True, exist_ok=True)
    if left:
        with LocalCluster(root) as cluster:
            embeds = any(SCHEDULES[index % len(SCHEDULES)][1] == "embed" for index in left)
            place = prepare(Place(root), cluster.address, works=("ingest", "embed", "run") if embeds else ("ingest", "run"))
            for index in left:
                what, step = SCHEDULES[index % len(SCHEDULES)]
                began = time.monotonic()
                hurt, starts, wrong = play(cluster, place, what, step, seed=f"{options.seed}/{index}")
                row = {"seed": options.seed, "index": index, "what": what, "step": step, "hurt": hurt, "starts": starts, "wrong": wrong}
                rows.append(row | {"seconds": round(time.monotonic() - began)})
                sys.stdout.write(f"{json.dumps(rows[-1])}\n")
                if wrong:
                    sys.stdout.write(f"  again: python {sys.argv[0]} --seed {options.seed} --replay {index}\n")
                sys.stdout.flush()
                if progress:
                    progress.parent.mkdir(parents=True, exist_ok=True)
                    with progress.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    if not options.folder:
        shutil.rmtree(root, ignore_errors=True)
    failed = [row for row in rows if row["wrong"]]
    counts = collections.Counter(f"{row['what']} in {row['step']}" for row in rows if row["hurt"])
    missed = sum(row["hurt"] is None for row in rows)
    sys.stdout.write(f"schedules={len(rows)} failed={len(failed)} ended_before_the_moment={missed} seed={options.seed}\n{json.dumps(counts)}\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
