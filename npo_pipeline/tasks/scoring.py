"""What a worker process is asked to do: judge a chunk of answers. Light to import; the scorers' libraries load in the worker.

An answer that raises, or takes longer than it may, is wrong and costs no other. What Python cannot interrupt (a hang inside C)
is stopped from outside, by the parent's limit on the whole chunk.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from npo_pipeline.errors import NpoError
from npo_pipeline.tasks.entries import score
from npo_pipeline.tasks.mathematics import same_value

Item = tuple[dict[str, Any], str, str]  # the problem's metadata, its reference answer, the answer to judge


class _TooSlow(BaseException):
    """Not an Exception: scorers that catch those must not swallow it."""


def judge_chunk(kind: str, seconds: float, items: Sequence[Item]) -> list[bool]:
    """Verified or not, for each item, within `seconds` each. Raises NpoError if a problem itself cannot be judged."""
    return [_judge(kind, seconds, item) for item in items]


def _judge(kind: str, seconds: float, item: Item) -> bool:
    metadata, reference, answer = item
    try:
        with _limit(seconds):
            if kind == "math":
                return same_value(reference, answer)
            return score(metadata, reference, answer) == 1.0  # shares and consolation points are not verified
    except NpoError:
        raise
    except (Exception, _TooSlow):
        return False


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _stop(*_: object) -> None:
    raise _TooSlow
