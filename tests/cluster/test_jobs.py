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
import time
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
        "RAY_JOB_STOP_WAIT_TIME_S": "60",  # then it is killed; 3 unless the head is told otherwise
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


def submit(head, *arguments, options=()):
    address, environment, _ = head
    command = ["ray", "job", "submit", f"--address={address}", *options, "--working-dir", str(ROOT), "--", sys.executable, "jobs/run.py", *arguments]
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


def ask(head, code):
    """What a job client of the head answers to an expression over `client`, as JSON."""
    address, environment, _ = head
    script = f"import json; from ray.job_submission import JobSubmissionClient; client = JobSubmissionClient({address!r}); print(json.dumps({code}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_wrong_configuration_fails_names_the_key_and_its_id_is_not_taken_twice(head):
    wrong = ("-c", "configs/quickstart.yaml", "budget.totl=3")
    done = submit(head, *wrong, options=("--submission-id=mine-0123-1",))
    assert done.returncode == 1, "the command line of Ray answers 1 for every failure"
    assert "unknown key 'budget.totl', did you mean total" in done.stdout
    assert "failed" in (done.stdout + done.stderr).lower()
    assert ask(head, "client.get_job_info('mine-0123-1').driver_exit_code") == 2
    again = submit(head, *wrong, options=("--submission-id=mine-0123-1",))
    assert again.returncode == 1
    assert "mine-0123-1 already exists" in again.stdout + again.stderr
    submit(head, *wrong, options=("--submission-id=mine-0123-2",))
    assert ask(head, "client.get_job_info('mine-0123-2').driver_exit_code") == 2


@pytest.mark.integration
@pytest.mark.timeout(560)
def test_a_job_that_is_stopped_ends_with_its_state_on_disk_and_the_next_attempt_goes_on(head, tiny_corpus, tmp_path):
    budget = {"total": 40, "seed_pairs": 20, "per_round": 20}
    content = {"name": "stopped", "storage_path": str(tmp_path), "corpus": {"path": tiny_corpus.path}, "budget": budget}
    config = tmp_path / "job.yaml"
    config.write_text(json.dumps(content))
    submit(head, "-c", str(config), options=("--submission-id=stopped-1", "--no-wait"))
    receipt = tmp_path / "stopped" / "random-s0" / "rounds" / "000" / "labels.parquet"
    deadline = time.monotonic() + 240
    while not receipt.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    bought = receipt.read_bytes()
    assert ask(head, "client.stop_job('stopped-1')")
    while (status := ask(head, "client.get_job_status('stopped-1')")) == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert status == "STOPPED"
    assert "terminated: what was bought and finished is on disk" in ask(head, "client.get_job_logs('stopped-1')")
    done = submit(head, "-c", str(config), options=("--submission-id=stopped-2",))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "round=0 bought=20 total=20" not in done.stdout, "the first purchase is not made again"
    assert "step=learn arm=random seed=0 round=1 bought=40" in done.stdout
    assert receipt.read_bytes() == bought


def test_a_relative_storage_path_is_refused_inside_a_job(head):
    done = submit(head, "-c", "configs/quickstart.yaml")
    assert done.returncode != 0
    assert "a submitted job's working directory is temporary" in done.stdout
