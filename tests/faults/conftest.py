"""Only `test_*.py` holds tests; the other files are programs, which import each other as such."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
collect_ignore_glob = ["[!t]*.py"]


@pytest.fixture
def run():
    """Runs one of these programs, which must tell nothing on its error stream."""

    def start(*arguments):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=280, check=False)
        assert done.stderr == "", done.stderr
        return done

    return start
