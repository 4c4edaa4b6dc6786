"""A stage as a process of its own that starts with everything imported: forked off a process that has done that once.

What it does is what `python -m npo_pipeline.stages.<stage>` does, in a session of its own; a kill falls into its work, not its imports.
"""

import importlib
import os
import runpy
import signal
import sys
import threading
import traceback
from multiprocessing import forkserver
from pathlib import Path

HEAVY = (
    "preparation.prepare",
    "grpo.run",
    "guidance.shards.make",
    "guidance.shards.gather",
    "evaluation.evaluate",
    "analysis.report.build",
    "tasks.gym",
)


def start(module: str, options: list[str], log: Path) -> int:
    """Its process id, which is also that of its group; what it says goes to `log`."""
    for name in HEAVY:
        importlib.import_module(f"npo_pipeline.{name}")
    if pid := os.fork():
        return pid
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    os._exit(_run(module, options))


def _run(module: str, options: list[str]) -> int:
    """In the child: the exit code."""
    signal.alarm(0)  # the parent's time limit
    forkserver._forkserver._forkserver_pid = None  # type: ignore[attr-defined]  # one that tests have started is no child of this process
    sys.argv = [module, *options]
    code = 0
    try:
        runpy.run_module(f"npo_pipeline.stages.{module}", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def is_running(pid: int) -> bool:
    """It stays a zombie until `wait`."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def kill(pid: int) -> None:
    """With its children."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # so early that it has no session of its own yet
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
