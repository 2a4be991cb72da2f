"""Storage that a node does not see is refused: the rule, and a real second node in a mount namespace that hides a folder."""

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

from xmr_ray import storage
from xmr_ray.cluster.session import Session
from xmr_ray.cluster.shared import check_shared, look, refuse_unshared
from xmr_ray.errors import ResourceError


def test_what_lies_there_is_known_by_its_content(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    assert look([str(tmp_path / "a"), str(tmp_path / "absent")]) == {str(tmp_path / "a"): storage.digest_bytes(b"x")}


def test_a_node_that_sees_nothing_or_something_else_is_named():
    expected = {"/runs/mark": "1", "/corpus/corpus.json": "2"}
    refuse_unshared(expected, {"a": expected, "b": dict(expected)})
    with pytest.raises(ResourceError, match=r"/runs/mark: the driver has this file, and node b does not see it; a run on 2 nodes needs storage_path"):
        refuse_unshared(expected, {"a": expected, "b": {"/corpus/corpus.json": "2"}})
    with pytest.raises(ResourceError, match=r"/corpus/corpus\.json: .* node b has another file there"):
        refuse_unshared(expected, {"a": expected, "b": {**expected, "/corpus/corpus.json": "3"}})


def test_one_node_writes_nothing(tmp_path):
    check_shared(Session(own=True, cpus=2, gpus=0, node_ids=("a",)), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


DRIVER = """
import sys
from xmr_ray.cluster.session import open_session
from xmr_ray.cluster.shared import check_shared
from xmr_ray.config import Resources
from xmr_ray.errors import ResourceError
with open_session(Resources(address=sys.argv[1])) as session:
    assert len(session.node_ids) == 2, session
    for folder in sys.argv[2:]:
        try:
            check_shared(session, folder)
            print("seen by all", flush=True)
        except ResourceError as error:
            print(error, flush=True)
"""


def can_hide_folders():
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.integration
@pytest.mark.ray
@pytest.mark.skipif(not can_hide_folders(), reason="needs the right to make a mount namespace")
def test_a_second_node_without_the_folder_is_refused(tmp_path):
    ray = str(Path(sys.executable).parent / "ray")
    scratch = Path(tempfile.mkdtemp(prefix="xmr", dir="/tmp"))  # socket paths have a length limit
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a-token-of-these-tests-and-of-nothing-else",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # two nodes on one machine
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    address = f"127.0.0.1:{free_port()}"
    common = ["--block", "--num-cpus=1", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats"]
    head = [ray, "start", "--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false", f"--temp-dir={scratch}", *common]
    shared, hidden = tmp_path / "shared", tmp_path / "hidden"
    shared.mkdir()
    hidden.mkdir()
    second = f"mount -t tmpfs none {hidden} && exec {ray} start --address={address} {' '.join(common)}"
    nodes = []
    try:
        with open(scratch / "nodes.log", "w") as log:
            for command in (head, ["unshare", "-m", "sh", "-c", f"sleep 8; {second}"]):
                nodes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
            for _ in range(8):
                done = subprocess.run(
                    [sys.executable, "-c", DRIVER, address, str(shared), str(hidden)],
                    env=environment, capture_output=True, text=True, timeout=120, check=False,
                )  # fmt: skip
                if done.returncode == 0:
                    break
        seen, refused = done.stdout.splitlines()
    finally:
        for node in reversed(nodes):
            node.send_signal(signal.SIGTERM)
        for node in nodes:
            try:
                node.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()
        shutil.rmtree(scratch, ignore_errors=True)
    assert seen == "seen by all"
    assert f"{hidden}/seen-" in refused
    assert re.search(r", and node [\d.]+ \(\w{8}\) does not see it; a run on 2 nodes needs storage_path", refused)
    assert [*shared.iterdir(), *hidden.iterdir()] == []
