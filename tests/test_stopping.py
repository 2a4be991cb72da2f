import os
import signal
import subprocess
import sys

import pytest

from xmr_ray.errors import CheckpointError, ConfigError
from xmr_ray.stopping import TERMINATED, Stopper, exit_codes

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


def code_of(error, *, asked=False):
    stopper = Stopper()
    stopper.asked = asked
    with pytest.raises(SystemExit) as ended, exit_codes(stopper):
        raise error
    return ended.value.code


def test_an_error_of_ours_has_its_code_and_its_message(capsys):
    assert code_of(ConfigError("the key is wrong")) == 2
    assert code_of(CheckpointError("the file is wrong")) == 4, "that of the kind it belongs to"
    assert capsys.readouterr().err == "error: the key is wrong\nerror: the file is wrong\n"


@pytest.mark.parametrize("error", [SystemExit(143), SystemExit(1), KeyboardInterrupt(), ConfigError("a consequence"), OSError()])
def test_whatever_follows_from_the_signal_is_143_and_says_that_the_state_is_safe(error, capsys):
    assert code_of(error, asked=True) == 143
    assert "terminated: what was bought and finished is on disk" in capsys.readouterr().err


def test_what_ended_otherwise_keeps_its_code():
    assert code_of(SystemExit(15)) == 143, "Ray's handler while Ray starts"
    assert code_of(SystemExit(7)) == 7
    assert code_of(SystemExit(0), asked=True) == 0, "the work was done when the signal came"
    with pytest.raises(KeyboardInterrupt), exit_codes(Stopper()):
        raise KeyboardInterrupt
