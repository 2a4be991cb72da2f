import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from xmr_ray.errors import RunError
from xmr_ray.runs import lock
from xmr_ray.runs.lock import exclusive

HOLD = "import sys,time; from xmr_ray.runs.lock import exclusive\nwith exclusive(sys.argv[1]):\n    print('held', flush=True); time.sleep(60)"


def test_a_second_process_is_refused_and_a_dead_ones_run_is_taken_over(tmp_path):
    path = str(tmp_path / "run")
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline().strip() == "held"
            with pytest.raises(RunError, match=rf"another process works here .*\"pid\": {holder.pid}"), exclusive(path):
                pass
        finally:
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
    started = time.monotonic()
    with exclusive(path):
        assert time.monotonic() - started < 5


def test_the_same_process_is_refused_too_and_the_lock_is_released_on_the_way_out(tmp_path):
    path = str(tmp_path)
    with exclusive(path), pytest.raises(RunError, match="another process works here"), exclusive(path):
        pass
    with exclusive(path):
        pass


def test_receipts_under_a_lock_name_nobody_and_an_object_store_is_held_by_a_lease(tmp_path, monkeypatch):
    with exclusive(str(tmp_path)) as held:
        assert held() == {}

    @contextmanager
    def leased(path):
        yield SimpleNamespace(held=lambda: {"owner": path})

    monkeypatch.setattr(lock, "leased", leased)
    with exclusive("mock://bucket/run") as held:
        assert held() == {"owner": "mock://bucket/run"}
