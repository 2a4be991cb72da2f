import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import ray

from xmr_ray.cluster import set_environment
from xmr_ray.cluster.session import kept_signals, open_session
from xmr_ray.config import Resources

pytestmark = pytest.mark.ray

HOLD = """
import signal, time, json
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores Ctrl-C for what it starts in the background
from xmr_ray.cluster.session import open_session
from xmr_ray.config import Resources
with open_session(Resources(num_cpus=1, object_store_mb=100)) as session:
    print(json.dumps({"own": session.own, "cpus": session.cpus}), flush=True)
    time.sleep(120)
"""


def test_the_environment_is_set_before_ray_is_imported_and_what_is_set_is_kept():
    environment = {"RAY_worker_niceness": "3"}
    set_environment(environment)
    assert environment["RAY_worker_niceness"] == "3"
    assert (environment["RAY_AUTH_MODE"], environment["RAY_USAGE_STATS_ENABLED"]) == ("token", "0")
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert environment["RAY_idle_worker_killing_time_threshold_ms"] == "60000"


def test_a_session_that_is_open_is_used_and_left_open(session):
    with open_session(Resources()) as found:
        assert found.node_ids == session.node_ids
    assert ray.is_initialized()


def test_the_session_is_capped_and_a_stalled_pass_fails_in_bounded_time(session):
    assert (session.own, session.cpus) == (True, 2.0)
    assert ray.cluster_resources()["object_store_memory"] <= 300e6
    with open_session(Resources(no_progress_timeout_s=77)):
        assert ray.data.DataContext.get_current().execution_no_progress_timeout_s == 77


def test_everything_listens_on_loopback_alone(session):
    own = {process.pid for process in psutil.Process().children(recursive=True)}
    listening = [c.laddr.ip for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.pid in own]
    assert len(listening) >= 3
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_what_was_started_ends_with_its_driver_however_that_ends(number):
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as driver:
        assert json.loads(driver.stdout.readline()) == {"own": True, "cpus": 1.0}
        started = psutil.Process(driver.pid).children(recursive=True)
        assert len(started) >= 3
        driver.send_signal(number)
        driver.wait(timeout=60)
    deadline = time.monotonic() + 60
    while left := [process for process in started if lives(process, agents=number != signal.SIGKILL)]:
        assert time.monotonic() < deadline, [process.cmdline() for process in left]
        time.sleep(0.2)


def lives(process, *, agents):
    """Whether a process still runs; two idle agents of Ray notice their raylet's violent death only after a minute."""
    try:
        named = " ".join(process.cmdline()).lower()
        return process.status() != psutil.STATUS_ZOMBIE and (agents or "agent" not in named)
    except psutil.NoSuchProcess:
        return False


def test_no_ray_at_the_address_is_told():
    code = (
        "from xmr_ray.cluster.session import open_session\nfrom xmr_ray.config import Resources\n"
        "from xmr_ray.errors import ResourceError\n"
        "try:\n  with open_session(Resources(address='127.0.0.1:9')): pass\nexcept ResourceError as error: print(error)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert "no Ray at address '127.0.0.1:9'" in done.stdout, done.stderr


@pytest.fixture
def handlers():
    """The handlers of both signals; what a test sets is undone."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def rays(_number, _frame):
    """Stands for a handler that Ray sets."""


def test_handlers_that_ray_sets_do_not_take_the_place_of_others(handlers):
    signal.signal(signal.SIGTERM, lambda *_: None)
    mine = {number: signal.getsignal(number) for number in handlers}
    with kept_signals():
        for number in mine:
            signal.signal(number, rays)
    assert {number: signal.getsignal(number) for number in mine} == mine


def test_rays_handler_stays_where_there_was_none(handlers):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with kept_signals():
        signal.signal(signal.SIGTERM, rays)
    assert signal.getsignal(signal.SIGTERM) is rays


def test_where_no_handler_may_be_set_none_is_put_back():
    def in_a_thread():
        with kept_signals():
            return "done"

    with ThreadPoolExecutor() as pool:
        assert pool.submit(in_a_thread).result() == "done"
