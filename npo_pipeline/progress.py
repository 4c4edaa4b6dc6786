"""Progress of long work: a bar on a terminal, a plain heartbeat line with the time left in a log."""

import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

HEARTBEAT_SECONDS = 10.0


class Progress:
    """Iterate over `range(start, total)` while telling how far it is, unless `quiet`.

    `note` adds words to the next line or to the bar; `alive` says them in the midst of a step that takes long.
    """

    def __init__(self, label: str, total: int, start: int = 0, quiet: bool = False) -> None:
        self.label, self.total, self.start, self.quiet = label, total, start, quiet
        self.words = ""
        self._bar: tqdm[int] | None = None
        self._done, self._began, self._last = start, time.monotonic(), time.monotonic()

    def note(self, words: str) -> None:
        self.words = words
        if self._bar is not None:
            self._bar.set_postfix_str(words, refresh=False)

    def alive(self, words: str) -> None:
        self.note(words)
        if self._bar is not None:
            self._bar.refresh()
        elif not self.quiet:
            self._say()

    def __iter__(self) -> Iterator[int]:
        if self.quiet:
            yield from range(self.start, self.total)
        elif sys.stderr.isatty():
            self._bar = tqdm(range(self.start, self.total), initial=self.start, total=self.total, desc=self.label)
            yield from self._bar
        else:
            yield from self._heartbeat()

    def _heartbeat(self) -> Iterator[int]:
        self._began = self._last = time.monotonic()
        for i in range(self.start, self.total):
            yield i
            self._done = i + 1
            self._say(last=self._done == self.total)

    def _say(self, last: bool = False) -> None:
        """A line, if the latest is long ago or this is the last one."""
        now, done = time.monotonic(), self._done - self.start
        if not last and now - self._last < HEARTBEAT_SECONDS:
            return
        left = f"{(now - self._began) / done * (self.total - self._done):.0f} s" if done else "unknown"
        line = f"{self.label}: {self._done}/{self.total}, {now - self._began:.0f} s, ETA {left} {self.words}"
        print(line.rstrip(), file=sys.stderr, flush=True)
        self._last = now
