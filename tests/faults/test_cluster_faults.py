"""The short gear of the fault runner on a real cluster of three nodes; `make faults` runs the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.timeout(600)
def test_a_scoring_actor_and_a_node_are_killed_and_nothing_changes():
    """In a process of its own, which has no session of Ray; schedules 0 (actor) and 2 (node)."""
    environment = {key: value for key, value in os.environ.items() if key not in {"RAY_ADDRESS", "RAY_AUTH_TOKEN"}}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, str(HERE / "cluster_faults.py"), "--seed", "2", "--only", "0", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=580, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "schedules=2 failed=0 ended_before_the_moment=0" in done.stdout, done.stdout
