"""What the run directory costs where there is much of it: runs that share people, and receipts that a start reads.

    python benchmarks/many_runs.py --runs 100 --rounds 10         one request of each run, as `xmr-ray run` asks
    python benchmarks/many_runs.py --receipts 1000                a start: `restore` and `relearn`

Everything lies in a temporary folder (TMPDIR; /dev/shm measures the code alone), and nothing is trained.
"""

import argparse
import tempfile
import time
from types import SimpleNamespace

import numpy as np

from xmr_ray import seals, storage
from xmr_ray.labels.annotators import Answers
from xmr_ray.labels.answers import append_answers
from xmr_ray.labels.files import FilesAnnotator
from xmr_ray.labels.ledger import write_receipt
from xmr_ray.labels.questions import Answer, Question
from xmr_ray.loop.mend import relearn
from xmr_ray.loop.sharing import Others, Sharing
from xmr_ray.loop.state import restore
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.types import LabelSet, Selection

PAIRS, PER_FILE, POOL, LABELS = 20, 7, 20_000, 10


def many_runs(folder, num_runs, num_rounds):
    """Seconds of one request of every run: each has paid rounds of 20 pairs in three files of answers, and asks for 20 more."""
    runs, rng = [RunDirectory(f"{folder}/arm-s{seed}") for seed in range(num_runs)], np.random.default_rng(0)
    for directory in runs:
        for index, ids in enumerate(rng.permutation(POOL)[: PAIRS * (num_rounds + 1)].reshape(-1, PAIRS)):
            place = directory.round(index)
            place.write_selection(Selection(ids, np.zeros(PAIRS)))
            if index < num_rounds:
                for start in range(0, PAIRS, PER_FILE):
                    append_answers(place.path, [Answer(int(one), (int(one) % 5,)) for one in ids[start : start + PER_FILE]], source="benchmark")
                storage.write_whole(place.turn, seals.seal_json({"turn": index}))
                storage.write_whole(place.receipt, b"paid")
    people = FilesAnnotator(lambda some: [Question(one) for one in some.pair_ids_n.tolist()], tuple("abcde"), True)
    started = time.monotonic()
    for at, directory in enumerate(runs):
        place = directory.round(num_rounds)
        Sharing(people, Others(tuple(runs[:at]), tuple(runs[at + 1 :]))).request(place.read_selection(), folder=place.path)
    return time.monotonic() - started


def many_receipts(folder, num_receipts):
    """Seconds of `restore` and of `relearn`, in a run whose rounds are all reported."""
    directory = RunDirectory(f"{folder}/run")
    for index in range(num_receipts):
        ids = np.arange(index * LABELS, (index + 1) * LABELS)
        labels = LabelSet.of(ids, [[int(one) % 5] for one in ids])
        write_receipt(directory.round(index).receipt, Answers(labels, np.empty(0, np.int64)))
        directory.round(index).write_report({"round": index})
    started = time.monotonic()
    state = restore(directory)
    restored = time.monotonic()
    relearn(SimpleNamespace(directory=directory), state)
    return restored - started, time.monotonic() - restored


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--receipts", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.receipts:
            restored, relearned = many_receipts(folder, options.receipts)
            print(f"{options.receipts:,} receipts of {LABELS} labels: restore {restored:.2f} s, relearn {relearned:.2f} s")
            return
        seconds = many_runs(folder, options.runs, options.rounds)
        print(f"{options.runs} runs of {options.rounds} paid rounds: {seconds / options.runs:.3f} s a request, {seconds:.1f} s for all")


if __name__ == "__main__":
    main()
