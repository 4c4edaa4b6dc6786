"""Progress: a bar on a real (pseudo-)terminal, a heartbeat line with the time left elsewhere."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

PROGRAM = "from npo_pipeline.progress import Progress\np = Progress('probe', 4, 1)\nfor i in p:\n    p.note(f'step {i}')\n"


def test_heartbeat_in_a_log():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == "probe: 4/4, 0 s, ETA 0 s step 3\n"


def test_bar_on_a_terminal():
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=end, check=True)
    os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "probe: 100%" in shown
    assert "4/4" in shown
