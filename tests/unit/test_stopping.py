"""Signals: the first is noticed, a second one ends the process at once."""

import os
import signal
import subprocess
import sys
import time

import pytest

from npo_pipeline.grpo.stopping import GRACE, SIGNALS, noticing

LONG_STEP = "import time; from npo_pipeline.grpo.stopping import noticing\nwith noticing(): print('ready', flush=True); time.sleep(60)"


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noticed_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with noticing() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number.name
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_stops_at_once(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", LONG_STEP], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.send_signal(number)
    assert "a second signal stops at once" in process.stderr.readline()
    assert process.poll() is None
    process.send_signal(number)  # at once: the same request
    time.sleep(GRACE + 0.5)
    assert process.poll() is None
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
