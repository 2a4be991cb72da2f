"""What stopping saves: the seconds of a search's trials against those of as many whole runs, and what its best configuration is worth.

    python benchmarks/tune.py -c configs/tune_quickstart.yaml [--whole] [key=value ...]

Runs `xmr-ray tune` in a fresh folder. Whole runs are counted by the mean seconds of the trials that were not stopped; with `--whole` the same
search without stopping is run, too. Seconds of a trial begin when its task begins: starting its process is left out on both sides.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time

from xmr_ray.config import load
from xmr_ray.tuning.drawing import count_trials
from xmr_ray.tuning.objective import area
from xmr_ray.tuning.records import read_records


def search(config, folder, overrides):
    """What the verb printed, the records of its trials, and its seconds."""
    command = [sys.executable, "-m", "xmr_ray", "tune", "-c", config, "--json", f"storage_path={folder}", *overrides]
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.strip().splitlines()[-1])
    settings = load(config, overrides)
    records = read_records(f"{folder}/{settings.name}/tune/trials", range(count_trials(settings.tune)))
    return told, records, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="configs/tune_quickstart.yaml")
    parser.add_argument("--whole", action="store_true", help="run the same search without stopping, too")
    parser.add_argument("--folder", help="where runs lie; a fresh temporary folder if left out")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    folder = arguments.folder or tempfile.mkdtemp(prefix="tune-")
    told, records, wall = search(arguments.config, f"{folder}/asha", arguments.overrides)
    whole = [record.seconds for record in records if record.status == "finished"]
    spent, mean = sum(record.seconds for record in records), sum(whole) / len(whole)
    print(
        f"trials {len(records)}, finished {len(whole)}, rounds {sum(len(record.curve) for record in records)}, wall with the final runs {wall:.0f} s"
    )
    runs = len(records)
    print(f"seconds of all trials {spent:.0f}; of {runs} whole runs at {mean:.1f} s each {mean * runs:.0f}; share {spent / mean / runs:.3f}")
    rounds, longest = sum(len(record.curve) for record in records), max(len(record.curve) for record in records)
    print(f"rounds of all trials {rounds} of {longest * len(records)}; share {rounds / longest / len(records):.3f}")
    best = next(record for record in records if record.index == told["best"])
    print(f"validation area: default {area(records[0].curve):.4f}, best (trial {best.index}) {area(best.curve):.4f}, {best.overrides}")
    for row in told["test"]:
        print(f"test split, once: {row['arm']} mAP {row['map_mean']:.4f} at {row['labels']} labels, {row['num_seeds']} seed(s)")
    if arguments.whole:
        _, unstopped, wall_whole = search(arguments.config, f"{folder}/whole", [*arguments.overrides, "tune.scheduler=none"])
        total = sum(record.seconds for record in unstopped)
        print(f"without stopping: {total:.0f} s of trials, wall {wall_whole:.0f} s; share {spent / total:.3f}")


if __name__ == "__main__":
    main()
