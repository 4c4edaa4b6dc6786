"""Worker processes that can hang or die without harm: calls go out, results, or the error that a call came to, come back.

Workers are forked from a small server process with a fixed string hash, so that whatever depends on the order of a set comes
out the same in each of them, and in the next run.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from types import TracebackType
from typing import Any

from pebble import ProcessExpired, ProcessPool

from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.errors import ConfigError, NpoError
from npo_pipeline.tasks.judging.sandbox import prepare_worker

Call = tuple[Any, ...]  # the arguments of one call


class Workers:
    """A pool of processes prepared for `kind` ("math", "reasoning_gym", or "python" as `verifier` says), started by the first call: a
    context manager."""

    def __init__(self, kind: str, count: int = 1, verifier: VerifierConfig | None = None) -> None:
        self.kind = kind
        self.verifier = verifier
        self.count = count
        self._pool: Any = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def map(self, function: Callable[..., Any], calls: Sequence[Call], seconds: float) -> list[Any]:
        """The result of each call, or the exception it came to: TimeoutError after `seconds`, ProcessExpired if its worker died.

        Raises NpoError if a call raised one, or if no worker can be started.
        """
        outcomes = self._outcomes(function, calls, seconds)
        if broken := [i for i, outcome in enumerate(outcomes) if _is_no_answer(outcome)]:
            self._stop()  # a worker was killed, idle by the system for want of memory, or asked to end: a fresh pool does the rest
            for i, outcome in zip(broken, self._outcomes(function, [calls[i] for i in broken], seconds), strict=True):
                outcomes[i] = outcome
        return [self._checked(outcome) for outcome in outcomes]

    def _outcomes(self, function: Callable[..., Any], calls: Sequence[Call], seconds: float) -> list[Any]:
        futures = [self._running().schedule(function, args=call, timeout=seconds) for call in calls]
        return [_outcome(future) for future in futures]

    def _running(self) -> Any:
        if self._pool is not None and not self._pool.active:
            self._stop()
        if self._pool is None:
            _start_server()
            context = multiprocessing.get_context("forkserver")
            prepared = (self.kind, self.verifier)
            self._pool = ProcessPool(max_workers=self.count, initializer=prepare_worker, initargs=prepared, context=context)
        return self._pool

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def _checked(self, outcome: Any) -> Any:
        if isinstance(outcome, NpoError):
            raise outcome from None
        if isinstance(outcome, BrokenProcessPool):
            package = {"math": "math-verify", "reasoning_gym": "reasoning-gym"}.get(self.kind, "npo_pipeline")
            raise ConfigError(
                f"task.verifier.kind={self.kind}: its worker process cannot start; "
                f"expected an installed {package} and free memory: pip install {package}"
            )
        return outcome


def _outcome(future: "Future[Any]") -> Any:
    try:
        return future.result()
    except (TimeoutError, ProcessExpired, BrokenProcessPool, Exception) as error:
        return error


def _is_no_answer(outcome: Any) -> bool:
    """Whether it says nothing about the call: no worker, or one that SIGTERM ended, as SLURM sends it to each process."""
    return isinstance(outcome, BrokenProcessPool) or (isinstance(outcome, ProcessExpired) and outcome.exitcode == -signal.SIGTERM)


def _start_server() -> None:
    """Start the server that workers are forked from, if it is not running, with a fixed string hash."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before
