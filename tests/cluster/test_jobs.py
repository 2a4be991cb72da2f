"""A real head on loopback, and `ray job submit` of `jobs/run.py` to it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def head():
    """A head with two CPUs that only a token opens; the address of its job server, its environment and its node id."""
    ray = Path(sys.executable).parent / "ray"
    folder = Path(tempfile.mkdtemp(prefix="xmr", dir="/tmp"))  # socket paths have a length limit
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a-token-of-these-tests-and-of-nothing-else",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    port, dashboard = free_port(), free_port()
    command = [str(ray), "start", "--head", "--block", "--num-cpus=2", f"--port={port}", "--node-ip-address=127.0.0.1"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={free_port()}"]
    command += ["--object-store-memory=300000000", f"--temp-dir={folder}", "--disable-usage-stats"]
    with open(folder / "head.log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True) as process:
        try:
            node = wait_for_node(f"127.0.0.1:{port}", environment)
            yield f"http://127.0.0.1:{dashboard}", environment, node
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def wait_for_node(address, environment):
    code = f"import ray; ray.init(address={address!r}, log_to_driver=False, logging_level='ERROR'); print(ray.nodes()[0]['NodeID'])"
    for _ in range(20):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60, check=False)
        if done.returncode == 0:
            return done.stdout.strip().splitlines()[-1]
    raise AssertionError(done.stderr)


def submit(head, *arguments):
    address, environment, _ = head
    command = ["ray", "job", "submit", f"--address={address}", "--working-dir", str(ROOT), "--", sys.executable, "jobs/run.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False, cwd=ROOT)


def test_a_submitted_run_works_inside_that_cluster_and_its_log_says_so(head, tiny_corpus, tmp_path):
    config = tmp_path / "job.yaml"
    budget = {"total": 30, "seed_pairs": 20, "per_round": 10}
    content = {"name": "job", "storage_path": str(tmp_path), "corpus": {"path": tiny_corpus.path}, "budget": budget, "strategy": {"kind": "entropy"}}
    config.write_text(json.dumps(content))
    done = submit(head, "-c", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    nodes = re.search(r"step=session .*nodes=(\w+)", done.stdout)
    assert nodes is not None, done.stdout
    assert nodes[1] == head[2], "the run's session is the head that it was submitted to"
    assert "succeeded" in done.stdout
    assert "step=learn arm=entropy seed=0 round=1 bought=30" in done.stdout
    report = json.loads((tmp_path / "job" / "entropy-s0" / "rounds" / "001" / "report.json").read_text())
    assert report["training"]["workers"] == 1
    assert (tmp_path / "job" / "report" / "index.html").exists()


def test_a_wrong_configuration_fails_and_names_the_key(head):
    done = submit(head, "-c", "configs/quickstart.yaml", "budget.totl=3")
    assert done.returncode != 0
    assert "unknown key 'budget.totl', did you mean total" in done.stdout
    assert "failed" in (done.stdout + done.stderr).lower()


def test_a_relative_storage_path_is_refused_inside_a_job(head):
    done = submit(head, "-c", "configs/quickstart.yaml")
    assert done.returncode != 0
    assert "a submitted job's working directory is temporary" in done.stdout
