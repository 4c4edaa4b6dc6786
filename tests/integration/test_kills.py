"""Kills at any moment, of a stage, of the whole workflow, or of its parent alone: run again, it comes to the undisturbed run's bytes.

`NPO_FAULT_KILLS=50 pytest tests/integration/test_kills.py` for many; without it each stage is killed once. `NPO_FAULT_SEED` gives
other moments. Half of the kills fall into a write: they wait for a file or folder that is half written.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from faults import OVERRIDES, STAGES, Stage, Table, changed
from workflow_runner import PROJECT, TINY, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")]

KILLS = int(os.environ.get("NPO_FAULT_KILLS", str(len(STAGES))))
SEED = os.environ.get("NPO_FAULT_SEED", "0")
ATTEMPTS = 10  # at a moment that a stage is still there to be killed at


def half_written(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob(".*.partial")}


def in_a_write(workflow: Workflow, number: int) -> Callable[[float], bool]:
    """Ready when the `number`-th half-written file or folder has been seen."""
    seen: set[str] = set()

    def ready(seconds: float) -> bool:
        seen.update(half_written(workflow.results))
        return len(seen) >= number

    return ready


def start(workflow: Workflow, stage: Stage) -> int:
    return forked.start(stage.module, stage.arguments(workflow), workflow.folder / "said.log")


def killed(workflow: Workflow, stage: Stage, ready: Callable[[float], bool]) -> bool:
    """Start it and kill -9 it with its children once `ready`; False if it had ended before."""
    pid, began = start(workflow, stage), time.monotonic()
    while (running := forked.is_running(pid)) and not ready(time.monotonic() - began):
        time.sleep(0.001)
    if running:
        forked.kill(pid)
    else:
        forked.wait(pid)
    return running


def kill(workflow: Workflow, stage: Stage, lasts: float, rng: random.Random, write: bool) -> str:
    """At a random moment of the `lasts` seconds that it takes, as far as is known, or in a random one of its first writes; which of both.

    A write may be over before it is seen: after half of the attempts any moment will do.
    """
    number = rng.randint(1, 4)
    for attempt in range(ATTEMPTS):
        stage.undo(workflow)
        write = write and attempt < ATTEMPTS // 2
        at, began = rng.uniform(0.0, lasts), time.monotonic()
        ready = in_a_write(workflow, max(1, number >> attempt)) if write else lambda seconds, at=at: seconds > at
        if killed(workflow, stage, ready):
            return "kill -9 in a write" if write else "kill -9 at any moment"
        lasts = time.monotonic() - began
    raise AssertionError(f"{stage.module} always ended before it was killed")


def test_kill_at_random_moments(copy: Workflow, table: Table) -> None:
    rng, lasts = random.Random(SEED), dict.fromkeys(STAGES, 2.0)
    for i in range(KILLS):
        name = list(STAGES)[i % len(STAGES)]
        stage, write = STAGES[name], (i // len(STAGES) + i % len(STAGES)) % 2 == 0
        before = stage.digests(copy)
        fault = kill(copy, stage, lasts[name], rng, write)
        began = time.monotonic()
        code = forked.wait(start(copy, stage))
        lasts[name] = time.monotonic() - began
        lost = changed(before, stage.digests(copy))
        survived = code == 0 and lost == 0 and not half_written(copy.results)
        table.add(name, fault, survived, lost)
        assert survived, (name, code, lost, half_written(copy.results), (copy.folder / "said.log").read_text())


def snakemake(workflow: Workflow) -> subprocess.Popen[str]:
    config = ["--config", f"overrides={TINY} {OVERRIDES}"]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--directory", str(workflow.folder), *config]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def amid_npo(workflow: Workflow) -> tuple[Path, subprocess.Popen[str]]:
    """The guided run, which is being made anew with its evaluation and the report, and has taken a step; and Snakemake at work on it."""
    for name in ("guided", "evaluate", "report"):
        STAGES[name].undo(workflow)
    run, process = workflow.results / "seed-0/npo", snakemake(workflow)
    wait_for((run / "rollouts/step-000000.parquet").exists)
    return run, process


def goes_on(workflow: Workflow, before: dict[str, str], table: Table, fault: str) -> str:
    """The same command again comes to the undisturbed run's bytes; what it said."""
    again = workflow.call(overrides=OVERRIDES)
    lost = changed(before, workflow.digests())
    table.add("workflow", fault, again.returncode == 0 and lost == 0, lost)
    assert again.returncode == 0, again.stdout
    assert lost == 0
    return again.stdout


def test_sigterm_with_ten_seconds_of_grace_to_the_whole_workflow(copy: Workflow, table: Table) -> None:
    """As SLURM, systemd and a container's stop do it: to every process, and kill -9 to what is left. The same command goes on."""
    before = copy.digests()
    run, process = amid_npo(copy)
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    (state,) = (run / "state").iterdir()
    assert f"npo: resuming from step {int(state.name[5:])}" in goes_on(copy, before, table, "SIGTERM, 10 s of grace")


def test_the_parent_alone_is_killed(copy: Workflow, table: Table) -> None:
    """Its stage lives on, held up here, so that it is still at work when the user comes back."""
    before = copy.digests()
    run, process = amid_npo(copy)
    os.killpg(process.pid, signal.SIGSTOP)
    process.kill()
    process.wait()
    try:
        early = copy.call(overrides=OVERRIDES).stdout
        assert f"{run.relative_to(copy.folder)}: process " in early
        assert "is writing to it. Wait until it has finished, or stop it, then run the same command again." in early
        assert "--unlock" not in early
        assert "--rerun-incomplete" not in early
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    goes_on(copy, before, table, "kill -9 of snakemake alone, mid-run")
