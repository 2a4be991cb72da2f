"""The short gear of the fault runner over two arms that share people, in processes of its own because it forks; `make faults` runs the long one."""

import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# What the product must not do, done to it before the runner looks.
BROKEN = {
    "every arm asks for all that it wants": "Others.asked = lambda self, place, pair_ids: frozenset()",
    "answers of other runs are not looked at": "Others.take_over = lambda self, folder, pair_ids: read_answers(folder)",
    "an import keeps half of the answers": """
real = answering.append_answers
answering.append_answers = lambda folder, some, **how: real(folder, some[::2], **how)
""",
    "whose turn it is changes with every start": """
def take_turn(self, place):
    turns = [sharing._turn_of(other) for directory in (*self.before, *self.after) if (other := sharing._waiting(directory))]
    storage.write_whole(place.turn, seals.seal_json({"turn": 1 + int(max(turns, default=0))}))
Others.take_turn = take_turn
""",
}
CONTROL = """
import os, sys
sys.path.insert(0, {here!r})
from loop_faults import Case
from moments import Fault
from sharing_faults import play, results, try_once
from xmr_ray import seals, storage
from xmr_ray.labels.answers import read_answers
from xmr_ray.loop import answering, sharing
from xmr_ray.loop.sharing import Others
os.chdir({folder!r})
for name in ("whole", "0", "1"):
    os.mkdir(name)
whole = Case("whole", "entropy+random", True, ())
assert try_once(whole, os.path.abspath("whole")).kind == "done"
expected = results(whole, os.path.abspath("whole"))
{broken}
for index in (0, 1):
    case = Case(f"control/{{index}}", "entropy+random", True, (Fault("kill-before", 80 + 60 * index),))
    print(*play(case, os.path.abspath(str(index)), expected).wrong)
"""


@pytest.mark.slow
def test_two_arms_that_share_people_end_as_if_uninterrupted_and_nobody_is_asked_twice(tmp_path, run):
    done = run(str(HERE / "sharing_faults.py"), "--seed", "3", "--progress", str(tmp_path / "p.jsonl"), "--schedules", "6")
    assert done.returncode == 0, done.stdout
    counts = json.loads(done.stdout.splitlines()[-1])
    assert (counts["labels lost"], counts["labels bought twice"], counts["results changed"], counts["labels"]) == (0, 0, 0, 6 * 2 * 60)
    assert counts["questions to people"] < counts["labels"], "what is shared is asked once"
    assert counts["kills"] > 4, "kills that never come show nothing"


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN)
def test_a_product_that_is_broken_on_purpose_is_caught(tmp_path, run, broken):
    done = run("-c", CONTROL.format(here=str(HERE), folder=str(tmp_path), broken=BROKEN[broken]))
    assert done.stdout.strip(), "nothing was noticed"
