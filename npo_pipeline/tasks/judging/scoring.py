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
from npo_pipeline.tasks.judging import own_reward
from npo_pipeline.tasks.judging.sandbox import memory_is_short
from npo_pipeline.tasks.maths.mathematics import same_value

Item = tuple[dict[str, Any], str, str]  # the problem's metadata, its reference answer, the answer to judge
Score = tuple[float, str]  # a reward from 0 to 1, and what went wrong in working it out, "" if nothing
WAITING = 10  # seconds by the clock, for each of CPU, that a user's function may take: it may wait for something


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


def reward_chunk(seconds: float, items: Sequence[Item]) -> list[Score]:
    """What a user's own function gives each response, within `seconds` of CPU each. Raises ConfigError if it cannot be loaded."""
    own_reward.check_loaded()
    return [_reward(seconds, item) for item in items]


def _reward(seconds: float, item: Item) -> Score:
    metadata, reference, text = item
    try:
        with _limit(seconds, WAITING * seconds):
            return own_reward.reward(text, reference, metadata), ""
    except _TooSlow:
        return 0.0, f"it took more than {seconds:g} seconds of CPU, or {WAITING * seconds:g} by the clock (task.verifier.timeout_seconds)"
    except BaseException as error:  # the function may even exit
        return 0.0, own_reward.said_of(error)


def _empty_caches() -> None:
    """sympy keeps what it has worked out, however large."""
    importlib.import_module("sympy.core.cache").clear_cache()
    gc.collect()


@contextmanager
def _limit(seconds: float, waiting: float = 0) -> Iterator[None]:
    """`seconds` of CPU; `waiting`: seconds by the clock too, 0: no such limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds) + 1, hard))  # whole seconds: SIGXCPU
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, _stop)
    signal.setitimer(signal.ITIMER_REAL, waiting)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _stop(*_: object) -> None:
    raise _TooSlow
