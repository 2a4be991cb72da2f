"""kill -9 of the driver at random moments of a run, restarted each time; the end must equal that of an uninterrupted run.

    python benchmarks/kills.py -c configs/quickstart.yaml --kills 10 --seed 0 full=false

Every selection file and every mAP of every round is compared.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time

from xmr_ray import storage
from xmr_ray.config import expand, load
from xmr_ray.runs.directory import RunDirectory


def results_of(experiment, folder):
    """Selections and retrieval figures of every round of every run."""
    found = {}
    for run in expand(experiment):
        directory = RunDirectory(storage.join(folder, experiment.name, run.run_id))
        for place in directory.rounds():
            found[run.run_id, place.index] = (place.read_selection().pair_ids_n.tolist(), place.read_report()["retrieval"])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    experiment = load(arguments.config, arguments.overrides)
    folder = tempfile.mkdtemp(prefix="xmr-kills-")

    def command(name):
        return [sys.executable, "-m", "xmr_ray", "run", "-c", arguments.config, *arguments.overrides, f"storage_path={folder}/{name}"]

    started = time.monotonic()
    subprocess.run(command("whole"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole = time.monotonic() - started
    print(f"uninterrupted: {whole:.0f} s", flush=True)
    moments = random.Random(arguments.seed)
    for kill in range(arguments.kills):
        wait = moments.uniform(2.0, max(12.0, whole / 3))
        with subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
            try:
                driver.wait(timeout=wait)
                state = f"had ended by itself with {driver.returncode}"
            except subprocess.TimeoutExpired:
                driver.send_signal(signal.SIGKILL)
                state = "killed"
        rounds = {run.run_id: len(RunDirectory(f"{folder}/killed/{experiment.name}/{run.run_id}").rounds()) for run in expand(experiment)}
        print(f"kill {kill + 1}: after {wait:.1f} s, {state}; rounds begun {json.dumps(rounds)}", flush=True)
    subprocess.run(command("killed"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    equal = results_of(experiment, f"{folder}/whole") == results_of(experiment, f"{folder}/killed")
    print(f"selections and mAP equal those of the uninterrupted run: {equal}", flush=True)
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
