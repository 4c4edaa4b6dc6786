"""Progress: a bar on a real (pseudo-)terminal, a heartbeat line with the time left elsewhere."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from npo_pipeline.progress import Progress

PROGRAM = "from npo_pipeline.progress import Progress\np = Progress('probe', 4, 1)\nfor i in p:\n    p.note(f'step {i}')\n"


def test_heartbeat_in_a_log():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == "probe: 4/4, 0 s, ETA 0 s step 3\n"


def test_a_long_step_shows_that_it_is_alive(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("npo_pipeline.progress.HEARTBEAT_SECONDS", 0.0)
    progress = Progress("guide", 2)
    for i in progress:
        progress.alive(f"checkpoint {i}: half of it")
        progress.note(f"checkpoint {i}")
    assert capsys.readouterr().err.splitlines() == [
        "guide: 0/2, 0 s, ETA unknown checkpoint 0: half of it",
        "guide: 1/2, 0 s, ETA 0 s checkpoint 0",
        "guide: 1/2, 0 s, ETA 0 s checkpoint 1: half of it",
        "guide: 2/2, 0 s, ETA 0 s checkpoint 1",
    ]


def test_bar_on_a_terminal():
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=end, check=True)
    os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "probe: 100%" in shown
    assert "4/4" in shown
