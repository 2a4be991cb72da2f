import os
import signal
import subprocess
import sys

import pytest

from xmr_ray.stopping import TERMINATED, Stopper

SWALLOW = """
import os, signal, sys
from xmr_ray.stopping import Stopper
stopper = Stopper()
signal.signal(signal.SIGTERM, stopper)
try:
    os.kill(os.getpid(), signal.SIGTERM)
except SystemExit:
    print("swallowed", flush=True)
if "twice" in sys.argv:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        print("tidied", flush=True)
try:
    stopper.check()
finally:
    print("tidied", flush=True)
"""


def test_nothing_is_asked_before_a_signal_comes():
    stopper = Stopper()
    stopper.check()
    assert not stopper.asked


def test_the_first_signal_ends_as_an_error_does():
    stopper, before = Stopper(), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, stopper)
    try:
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == TERMINATED == 143
    assert stopper.asked


@pytest.mark.parametrize(("argument", "told"), [("once", "swallowed\ntidied\n"), ("twice", "swallowed\n")])
def test_a_swallowed_request_is_repeated_and_the_second_signal_tidies_nothing(argument, told):
    done = subprocess.run([sys.executable, "-c", SWALLOW, argument], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == (told, 143)
