"""Gear 1: the loop with a fake engine, hurt at moments drawn from a seed, restarted until it ends, and compared with an uninterrupted run.

    python tests/faults/loop_faults.py --schedules 1000 --seed 0 --progress .faults/loop.jsonl
    python tests/faults/loop_faults.py --seed 0 --replay 17

Started again with the same progress file, it goes on behind the schedules that are written there.
"""

import argparse
import collections
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from loop_process import PURCHASES, STRATEGIES, in_child, outcome_of, overlap, results_of, try_once
from moments import ERRORS, HOLD, KILLS, Fault

DAMAGES = ("truncated", "bit flipped", "emptied", "overwritten")
MOST_ATTEMPTS = 25
# (pattern of a file in the run directory, what is hurt)
KINDS = (
    (r"config\.yaml$", "config"),
    (r"choices\.json$", "choices"),
    (r"labels\.parquet$", "receipt"),
    (r"selection\.parquet$", "selection"),
    (r"report\.json$", "report"),
    (r"networks/networks\.pt$", "networks"),
    (r"networks/networks\.sha256$", "networks' hash"),
    (r"networks/training\.json$", "training numbers"),
    (r"scores/.*\.parquet$", "score file"),
    (r"answers/.*\.parquet$", "answers"),
)


@dataclass(frozen=True)
class Case:
    """One schedule: all that its seed decides."""

    name: str
    strategy: str
    people: bool
    faults: tuple[Fault, ...]


@dataclass
class Story:
    """What happened in a schedule."""

    counts: collections.Counter = field(default_factory=collections.Counter)
    hurt: dict = field(default_factory=dict)
    wrong: list = field(default_factory=list)
    restore_receipts: bool = False


def case_of(seed, index, lengths):
    """The schedule of a seed and an index; `lengths` are the moments of an uninterrupted attempt, by strategy and annotator."""
    rng = random.Random(f"{seed}/{index}")
    strategy, people = rng.choice(sorted(STRATEGIES)), rng.random() < 0.35
    kinds = rng.choices(["kill", "error", "damage", HOLD], [5, 2, 4, 1], k=rng.randint(1, 4))
    length = lengths(strategy, people)
    faults = []
    for group in kinds:
        kind = rng.choice({"kill": KILLS, "error": ERRORS, "damage": DAMAGES, HOLD: (HOLD,)}[group])
        faults.append(Fault(kind, 1 + int(length * rng.random() ** 1.3), rng.random()))
    return Case(f"{seed}/{index}", strategy, people, tuple(faults))


def play(case, folder, expected):
    """A whole schedule; its story, with what went wrong."""
    story, rng = Story(), random.Random(f"{case.name}/damage")
    for fault in case.faults:
        if fault.kind in DAMAGES:
            damage(story, f"{folder}/run", fault, rng)
            go_on(case, folder, story)
        elif fault.kind == HOLD:
            both_at_once(case, folder, fault, story)
        else:
            met(outcome_of(try_once(case, folder, fault, restore_receipts=story.restore_receipts), folder), fault, folder, story)
    for _ in range(MOST_ATTEMPTS):
        if go_on(case, folder, story) and (found := read_results(case, folder, story)) is not None:
            compare(story, found, expected, folder)
            return story
        if any("broken" in line for line in story.wrong):
            return story
    story.wrong.append(f"not ended after {MOST_ATTEMPTS} attempts")
    return story


def met(outcome, fault, folder, story):
    """An attempt with a kill or a write error: killed, refused with a reason that names a file, or ended before the moment came."""
    group = "kills" if fault.kind in KILLS else "write errors"
    if outcome.kind == "broken":
        story.wrong.append(f"{fault}: broken: {outcome.message}")
    elif outcome.kind == "refused" and not mend(story, outcome.message, f"{folder}/run"):
        if fault.kind in KILLS or "/run/" not in outcome.message:
            story.wrong.append(f"{fault}: {outcome.message}")
        story.counts[group] += 1
    elif outcome.kind == "killed":
        story.counts[group] += 1


def both_at_once(case, folder, fault, story):
    ended, second = overlap(case, folder, fault)
    if second is None:
        met(ended, fault, folder, story)
        return
    story.counts["overlaps"] += 1
    if second.kind != "refused" or "another process works here" not in second.message:
        story.wrong.append(f"the second of two attempts was not refused: {second}")
    if ended.kind != "done" and not (ended.kind == "refused" and mend(story, ended.message, f"{folder}/run")):
        story.wrong.append(f"the first of two attempts: {ended}")


def go_on(case, folder, story):
    """One attempt without a fault; True if it ended. What it refuses must be a file that was hurt, and is mended as the documentation says."""
    outcome = outcome_of(try_once(case, folder, restore_receipts=story.restore_receipts), folder)
    if outcome.kind == "refused" and not mend(story, outcome.message, f"{folder}/run"):
        story.wrong.append(f"broken: refused without a file that was hurt: {outcome.message}")
    elif outcome.kind not in {"done", "refused"}:
        story.wrong.append(f"broken: {outcome}")
    return outcome.kind == "done"


def read_results(case, folder, story):
    outcome = outcome_of(in_child(lambda _: results_of(case, folder), folder), folder)
    if outcome.kind == "done":
        return json.loads(outcome.message)
    if outcome.kind != "refused" or not mend(story, outcome.message, f"{folder}/run"):
        story.wrong.append(f"broken: results cannot be read: {outcome}")
    return None


def damage(story, root, fault, rng):
    """Hurt a file of the run, its kind drawn first; what it held is kept as a backup would."""
    files = [os.path.join(where, name) for where, _, names in os.walk(root) for name in names if ".part-" not in name]
    found = {kind: sorted(path for path in files if re.search(pattern, path)) for pattern, kind in KINDS}
    kinds = sorted(kind for kind, paths in found.items() if paths)
    if not kinds:
        return
    kind = rng.choice(kinds)
    path = Path(rng.choice(found[kind]))
    data = path.read_bytes()
    changed = bytearray(data)
    if fault.kind == "truncated":
        changed = changed[: int(len(data) * fault.share)]
    elif fault.kind == "emptied":
        changed = bytearray()
    elif fault.kind == "bit flipped" and data:
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif data:
        start = rng.randrange(len(data))
        changed[start : start + 16] = rng.randbytes(len(changed[start : start + 16]))
    path.write_bytes(changed)
    story.hurt.setdefault(str(path), data)
    story.counts[f"{kind} {fault.kind}"] += 1


def mend(story, message, root):
    """What docs/deployment.md tells to do about a file that is refused; False if the message names none that was hurt."""
    if "--restore-receipts" in message:
        story.restore_receipts = True
        return True
    named = [path for path in story.hurt if path in message]
    if "backup" in message:
        named = [path for path in story.hurt if os.path.dirname(path) in message and path.endswith("labels.parquet")]
        for path in named:
            Path(path).write_bytes(story.hurt[path])
            story.counts["restored from a backup"] += 1
        return bool(named)
    for path in named:
        if "/networks/" in path:
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)
            story.restore_receipts |= path.endswith("labels.parquet")
    story.counts["named and refused"] += bool(named)
    return bool(named)


def compare(story, found, expected, folder):
    """Selections, labels and mAP are those of the uninterrupted run; the annotator's own book says that nothing was lost or paid twice."""
    for index, (one, other) in enumerate(zip(found, expected, strict=False)):
        gone = one["selection"] is None and f"{folder}/run/rounds/{index:03d}/selection.parquet" in story.hurt
        if one | ({"selection": other["selection"]} if gone else {}) != other:
            story.wrong.append(f"round {index} differs from the uninterrupted run")
            story.counts["results changed"] += 1
    if len(found) != len(expected):
        story.wrong.append(f"{len(found)} rounds, expected {len(expected)}")
    bought = collections.Counter(pair_id for one in found for pair_id, _ in one["labels"])
    asked, answered = collections.defaultdict(set), set()
    for line in Path(folder, "book.jsonl").read_text().splitlines():
        event, where, pair_ids = json.loads(line)
        answered.update(pair_ids if event == "answered" else ())
        for pair_id in pair_ids:
            asked[pair_id].add(where)
    twice = [pair_id for pair_id in asked if len(asked[pair_id]) > 1 or bought[pair_id] > 1]
    lost = sorted((answered | asked.keys()) - bought.keys())
    story.counts["labels bought twice"] += len(twice)
    story.counts["labels lost"] += len(lost)
    story.counts["labels"] += sum(bought.values())
    if twice or lost or sum(bought.values()) != sum(PURCHASES):
        story.wrong.append(f"bought twice {twice[:3]}, lost {lost[:3]}, bought {sum(bought.values())} of {sum(PURCHASES)}")


def begin(root, seed):
    """What plays schedule `index` in a folder below `root`."""

    @cache
    def whole(strategy, people):
        folder = f"{root}/whole-{strategy}-{people}"
        Path(folder).mkdir()
        case = Case("whole", strategy, people, ())
        outcome = outcome_of(try_once(case, folder), folder)
        assert outcome.kind == "done", outcome.message
        return read_results(case, folder, Story()), outcome.moments

    def run(index):
        case = case_of(seed, index, lambda strategy, people: whole(strategy, people)[1])
        folder = f"{root}/{index}"
        Path(folder).mkdir()
        return case, play(case, folder, whole(case.strategy, case.people)[0]), folder

    return run


def command(doc, begin):
    """The command line of a runner, whose schedules `begin(root, seed)` plays."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--progress", help="file that remembers which schedules were run")
    parser.add_argument("--replay", type=int, help="run this one schedule, keep its folder, tell its faults")
    options = parser.parse_args()
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    root = tempfile.mkdtemp(prefix="xmr-faults-", dir=place)
    run = begin(root, options.seed)
    if options.replay is not None:
        case, story, folder = run(options.replay)
        sys.stdout.write(f"{case}\n{dict(story.counts)}\n" + "\n".join(story.wrong or ["as uninterrupted"]) + f"\nkept in {folder}\n")
        sys.exit(bool(story.wrong))
    failed = run_all(options, run)
    shutil.rmtree(root)
    sys.exit(1 if failed else 0)


def run_all(options, run):
    """Every schedule that the progress file does not hold; prints a summary, returns how many went wrong."""
    progress = Path(options.progress) if options.progress else None
    rows = [json.loads(line) for line in progress.read_text().splitlines()] if progress and progress.exists() else []
    rows = [row for row in rows if row["seed"] == options.seed and row["index"] < options.schedules]
    known, started = {row["index"] for row in rows}, time.monotonic()
    for index in range(options.schedules):
        if index in known:
            continue
        case, story, folder = run(index)
        rows.append(
            {"seed": options.seed, "index": index, "wrong": story.wrong, "counts": dict(story.counts), "faults": [f.kind for f in case.faults]}
        )
        if story.wrong:
            sys.stdout.write(f"schedule {index} failed: {story.wrong[0]}\n  again: python {sys.argv[0]} --seed {options.seed} --replay {index}\n")
        shutil.rmtree(folder)
        if progress:
            progress.parent.mkdir(parents=True, exist_ok=True)
            with progress.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    counts = sum((collections.Counter(row["counts"]) for row in rows), collections.Counter())
    failed = sum(bool(row["wrong"]) for row in rows)
    told = {name: counts[name] for name in ("labels lost", "labels bought twice", "results changed")} | dict(sorted(counts.items()))
    sys.stdout.write(f"schedules={len(rows)} failed={failed} seed={options.seed} seconds={time.monotonic() - started:.0f}\n{json.dumps(told)}\n")
    return failed


if __name__ == "__main__":
    command(__doc__, begin)
