"""A request to stop: SIGTERM, Ctrl-C or SLURM's warning lets the step that is running end and its state be saved.

A second signal stops at once, as kill -9 would: then the last saved state is what a rerun goes on from. One within a second of the
first is the same request: Ctrl-C in a terminal reaches a stage twice, from the terminal and from snakemake.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 1.0  # seconds
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stop:
    """`signal` is the name of the one that came, or None. Between `noticing` it listens."""

    def __init__(self) -> None:
        self.signal: str | None = None
        self.since = 0.0

    def notice(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            if time.monotonic() - self.since > GRACE:
                os._exit(128 + number)
            return
        self.since = time.monotonic()
        self.signal = signal.Signals(number).name
        print(f"{self.signal}: stopping after this step; a second signal stops at once", file=sys.stderr, flush=True)


@contextmanager
def noticing() -> Iterator[Stop]:
    """Listen to SIGNALS while the block runs; in a thread other than the main one none is heard."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.notice) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
