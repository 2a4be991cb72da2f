"""The same configuration on CPU and on GPU: both stages, the Gaussian heads, evaluation and scoring of the pool, through Ray.

    python benchmarks/gpu_check.py                                        (the embedded corpus, 400 labels)
    python benchmarks/gpu_check.py -c configs/coco18.yaml --labels 1000
    python benchmarks/gpu_check.py --rehearse                             (the CPU on both sides: shows that the check itself works)

Both sides buy the same pairs once, so nothing but the device differs. Printed are mean average precision of every space and direction, the largest
difference of every score over the pool, and seconds. The check fails (exit code 1) when a mAP differs by more than --tolerance; without a GPU it
says so and ends with 3: nothing was compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

from xmr_ray import storage
from xmr_ray.config import load, to_yaml, validate

NO_GPU = 3


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="configs/quickstart.yaml")
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--tolerance", type=float, default=0.005)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("overrides", nargs="*", help="key.sub=value, for both sides")
    return parser.parse_args()


def one_purchase(config, overrides, *, side, folder, labels, use_gpu):
    """The configuration with one arm, one seed and one purchase, so that no score decides what is bought; the path of its file."""
    content = load(config, overrides).model_dump(mode="json")
    content |= {"name": side, "storage_path": folder, "arms": {}, "full": False, "seeds": content["seeds"][:1], "strategy": {"kind": "ascmr"}}
    content["budget"] = {"total": labels, "seed_pairs": labels}
    content["resources"] |= {"use_gpu": use_gpu}
    path = storage.join(folder, f"{side}.yaml")
    storage.write_whole(path, to_yaml(validate(content, where=config)).encode())
    return path


def call(verb, path):
    """What a verb answers as JSON, and its seconds."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "xmr_ray", verb, "-c", path, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{verb} -c {path} ended with {done.returncode}; its messages are above")
    return json.loads(done.stdout.splitlines()[-1]), time.monotonic() - started


def measure(path):
    """Precision by space and direction, scores by column, and seconds of each verb."""
    _, seconds_run = call("run", path)
    found, _ = call("evaluate", path)
    scored, seconds_score = call("score", path)
    maps = {f"{space} {side}": report[side]["map_all"] for space, report in found["retrieval"].items() for side in ("i2t", "t2i")}
    files = [storage.join(scored["scores"], name) for name in storage.list_names(scored["scores"]) if name.startswith("train")]
    tables = [storage.read_table(file) for file in files]
    columns = {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in tables[0].column_names}
    return maps, columns, {"run": seconds_run, "score": seconds_score}


def compare(first, second, tolerance):
    """A line for every mAP, and those that differ by more than the tolerance.

    >>> compare({"prob i2t": 0.5, "prob t2i": 0.4}, {"prob i2t": 0.504, "prob t2i": 0.41}, 0.005)[1]
    ['prob t2i']
    """
    lines = [f"  {name:<14} {first[name]:.4f}  {second[name]:.4f}  difference {second[name] - first[name]:+.4f}" for name in sorted(first)]
    return lines, [name for name in sorted(first) if not abs(second[name] - first[name]) <= tolerance]


def main():
    arguments = parse()
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, GPUs {torch.cuda.device_count()}")
    if not torch.cuda.is_available() and not arguments.rehearse:
        print("no GPU that torch can use: nothing was run and nothing is compared (--rehearse runs the CPU on both sides)")
        sys.exit(NO_GPU)
    second = "cpu_again" if arguments.rehearse else "gpu"
    print(f"second side: {'the CPU again, a rehearsal' if arguments.rehearse else torch.cuda.get_device_name()}")
    with tempfile.TemporaryDirectory(prefix="gpu_check") as folder:
        measured = {}
        for side in ("cpu", second):
            use_gpu = side == "gpu"
            path = one_purchase(arguments.config, arguments.overrides, side=side, folder=folder, labels=arguments.labels, use_gpu=use_gpu)
            measured[side] = measure(path)
            print(f"{side}: run (both stages, heads, evaluate) {measured[side][2]['run']:.1f} s, score the pool {measured[side][2]['score']:.1f} s")
    lines, apart = compare(measured["cpu"][0], measured[second][0], arguments.tolerance)
    print(f"mAP: cpu, {second}", *lines, sep="\n")
    for name, values in sorted(measured["cpu"][1].items()):
        if np.issubdtype(values.dtype, np.floating):
            print(f"  score {name:<24} largest difference {np.abs(values - measured[second][1][name]).max():.3g}")
    print(f"FAILED: {', '.join(apart)} differ by more than {arguments.tolerance}" if apart else f"every mAP within {arguments.tolerance}")
    sys.exit(1 if apart else 0)


if __name__ == "__main__":
    main()
