"""The short gear of the fault runner over the loop, in processes of its own because it forks; `make faults` runs the long one."""

import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# What the product must not do, done to it before the runner looks.
BROKEN = {
    "files that are not whole or nothing": """
def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
storage.write_whole = write
storage.create_exclusive = lambda path, data: write(path, data) or True
""",
    "another choice after every start": """
from xmr_ray.runs.directory import RoundDirectory
from xmr_ray.types import Selection
def select(run, state, place):
    free = np.setdiff1d(loop_process.IDS, state.ledger.bought_ids)
    return Selection(np.random.default_rng(os.getpid()).permutation(free)[:20], np.linspace(1, 0, 20))
steps._select = select
RoundDirectory.read_selection = lambda self: None if not os.path.exists(self.receipt) else kept(self)
""",
}
CONTROL = """
import os, sys, tempfile
import numpy as np
sys.path.insert(0, {here!r})
from xmr_ray import storage
from xmr_ray.loop import steps
from xmr_ray.runs.directory import RoundDirectory
kept = RoundDirectory.read_selection
import loop_faults, loop_process
from moments import Fault
root = tempfile.mkdtemp(dir={folder!r})
def whole(name):
    case = loop_faults.Case("whole", "entropy", False, ())
    os.mkdir(f"{{root}}/whole-{{name}}")
    outcome = loop_process.outcome_of(loop_process.try_once(case, f"{{root}}/whole-{{name}}"), f"{{root}}/whole-{{name}}")
    return loop_faults.read_results(case, f"{{root}}/whole-{{name}}", loop_faults.Story()), outcome.moments
expected, moments = whole("sound")
{broken}
told = []
for index, faults in enumerate({faults}):
    os.mkdir(f"{{root}}/{{index}}")
    case = loop_faults.Case(f"control/{{index}}", "entropy", False, tuple(Fault(*one) for one in faults))
    told += loop_faults.play(case, f"{{root}}/{{index}}", expected).wrong
print(len(told), told[:1])
"""


@pytest.mark.slow
def test_hurt_at_moments_drawn_from_a_seed_it_ends_as_if_uninterrupted_and_goes_on_where_it_was(tmp_path, run):
    progress = tmp_path / "p.jsonl"
    command = (str(HERE / "loop_faults.py"), "--seed", "6", "--progress", str(progress), "--schedules")
    assert run(*command, "3").returncode == 0
    rows = progress.read_text()
    done = run(*command, "8")
    assert done.returncode == 0, done.stdout
    assert progress.read_text().startswith(rows)
    first, told = done.stdout.splitlines()[-2:]
    counts = json.loads(told)
    assert first.startswith("schedules=8 failed=0 seed=6")
    assert (counts["labels lost"], counts["labels bought twice"], counts["results changed"], counts["labels"]) == (0, 0, 0, 8 * 60)
    assert counts["kills"] > 2, "kills that never come show nothing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "faults"),
    [
        ("files that are not whole or nothing", [[["kill-half", at]] for at in (9, 11, 15, 17)]),
        ("another choice after every start", [[["kill-before", at]] for at in (20, 22)]),
    ],
)
def test_a_product_that_is_broken_on_purpose_is_caught(tmp_path, run, broken, faults):
    done = run("-c", CONTROL.format(here=str(HERE), folder=str(tmp_path), broken=BROKEN[broken], faults=faults))
    assert int(done.stdout.split()[0]) > 0, done.stdout


@pytest.mark.slow
def test_a_schedule_that_goes_wrong_fails_the_runner_and_says_how_to_see_it_again(tmp_path, run):
    progress = tmp_path / "p.jsonl"
    progress.write_text(json.dumps({"seed": 0, "index": 0, "wrong": ["x"], "counts": {}, "faults": []}) + "\n")
    done = run(str(HERE / "loop_faults.py"), "--schedules", "1", "--progress", str(progress))
    assert done.returncode == 1
    assert "schedules=1 failed=1" in done.stdout
