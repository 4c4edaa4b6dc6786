"""Progress of long work: a bar on a terminal, a plain heartbeat line with the time left in a log."""

import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

HEARTBEAT_SECONDS = 10.0


class Progress:
    """Iterate over `range(start, total)` while telling how far it is, unless `quiet`; `note` adds words to the next line or to the bar."""

    def __init__(self, label: str, total: int, start: int = 0, quiet: bool = False) -> None:
        self.label, self.total, self.start, self.quiet = label, total, start, quiet
        self.words = ""
        self._bar: tqdm[int] | None = None

    def note(self, words: str) -> None:
        self.words = words
        if self._bar is not None:
            self._bar.set_postfix_str(words, refresh=False)

    def __iter__(self) -> Iterator[int]:
        if self.quiet:
            yield from range(self.start, self.total)
        elif sys.stderr.isatty():
            self._bar = tqdm(range(self.start, self.total), initial=self.start, total=self.total, desc=self.label)
            yield from self._bar
        else:
            yield from self._heartbeat()

    def _heartbeat(self) -> Iterator[int]:
        began = last = time.monotonic()
        for i in range(self.start, self.total):
            yield i
            now, done = time.monotonic(), i + 1
            if now - last >= HEARTBEAT_SECONDS or done == self.total:
                left = (now - began) / (done - self.start) * (self.total - done)
                print(
                    f"{self.label}: {done}/{self.total}, {now - began:.0f} s, ETA {left:.0f} s {self.words}".rstrip(),
                    file=sys.stderr,
                    flush=True,
                )
                last = now
