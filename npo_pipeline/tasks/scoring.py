"""What a worker process is asked to do: judge a chunk of answers. Light to import; the scorers' libraries load in the worker.

An answer that raises, or takes more than its seconds of CPU, is wrong and costs no other: of CPU, so that a busy machine judges as an
idle one does. What Python cannot interrupt, a hang inside C, the kernel ends a second or two later, and the worker with it. What
waits for something takes no CPU: it is stopped by the parent, by the clock.
"""

import gc
import importlib
import math
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from npo_pipeline.errors import NpoError
from npo_pipeline.tasks.entries import score
from npo_pipeline.tasks.mathematics import same_value
from npo_pipeline.tasks.sandbox import memory_is_short

Item = tuple[dict[str, Any], str, str]  # the problem's metadata, its reference answer, the answer to judge


class _TooSlow(BaseException):
    """Not an Exception: scorers that catch those must not swallow it."""


def judge_chunk(kind: str, seconds: float, items: Sequence[Item]) -> list[bool]:
    """Verified or not, for each item, within `seconds` each. Raises NpoError if a problem itself cannot be judged."""
    return [_judge(kind, seconds, item) for item in items]


def _judge(kind: str, seconds: float, item: Item) -> bool:
    metadata, reference, answer = item
    if memory_is_short():
        _empty_caches()
    try:
        with _limit(seconds):
            if kind == "math":
                return same_value(reference, answer)
            return score(metadata, reference, answer) == 1.0  # shares and consolation points are not verified
    except NpoError:
        raise
    except (Exception, _TooSlow):
        return False


def _empty_caches() -> None:
    """sympy keeps what it has worked out, however large."""
    importlib.import_module("sympy.core.cache").clear_cache()
    gc.collect()


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds) + 1, hard))  # whole seconds: SIGXCPU
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _stop(*_: object) -> None:
    raise _TooSlow
