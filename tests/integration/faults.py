"""What the tests of faults share: the experiment that they harm, its stages by hand, and the table of what was tried."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import forked
import pytest
from workflow_runner import Workflow

Shown = TypeVar("Shown")  # a table
TABLES = pytest.StashKey[list[str]]()  # for the end of the session (conftest.py)

# Deltas, a checkpoint at every step, and a second seed and method whose files are valid elsewhere.
OVERRIDES = (
    "policy.dtype=bfloat16 grpo.learning_rate=1e-5 probe.checkpoint_every=1 guided.checkpoint_every=1 seeds=[0,1] method=[npo,autonpo]"
)
SCHEDULE = "seed-0/npo/schedule.yaml"


@dataclass(frozen=True)
class Stage:
    """A stage by hand: its module, its configuration, and where its outputs lie."""

    module: str
    config: str
    outputs: tuple[str, ...]
    options: tuple[str, ...] = ()

    def arguments(self, workflow: Workflow) -> list[str]:
        return ["--config", str(workflow.results / f"config/{self.config}.yaml"), *self.options]

    def digests(self, workflow: Workflow) -> dict[str, str]:
        """Of its outputs as they are now; jobs are notes of how the guide was scattered."""
        found = workflow.digests()
        return {name: value for name, value in found.items() if name.startswith(self.outputs) and "/guide/jobs/" not in name}

    def undo(self, workflow: Workflow) -> None:
        """As if it had never run. The schedule lies in the folder of the run that follows it, and is the plan's."""
        schedule = (workflow.results / SCHEDULE).read_bytes()
        for name in self.outputs:
            for path in workflow.results.glob(f"{name.removesuffix('/')}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if self.module == "guided":
            (workflow.results / SCHEDULE).parent.mkdir(parents=True, exist_ok=True)
            (workflow.results / SCHEDULE).write_bytes(schedule)


STAGES = {
    "prepare": Stage("prepare", "prepare", ("prepare/",)),
    "probe": Stage("probe", "probe", ("seed-0/probe/",), ("--save-every", "1")),
    "guide": Stage("guide", "guide", ("seed-0/guide/",)),
    "plan": Stage("plan", "plan-npo", (SCHEDULE,)),
    "guided": Stage("guided", "guided-npo", ("seed-0/npo/",), ("--save-every", "1")),
    "evaluate": Stage("evaluate", "evaluate", ("seed-0/evaluation/npo.",), ("--policy", "npo")),
    "report": Stage("report", "report", ("comparison/", "report.html")),
}


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str


def run_stage(workflow: Workflow, module: str, config: str, *options: str) -> Done:
    """A stage by hand, to its end."""
    log = workflow.folder / "said.log"
    code = forked.wait(forked.start(module, ["--config", str(workflow.results / f"config/{config}.yaml"), *options], log))
    return Done(code, log.read_text(encoding="utf-8"))


def call(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)


def changed(before: dict[str, str], after: dict[str, str]) -> int:
    """Files of the undisturbed run that are missing or other ones now."""
    return sum(after.get(name) != digest for name, digest in before.items())


@dataclass
class Table:
    """What was tried, by stage and kind of fault: how often, how often it came to the undisturbed run's bytes, files that did not."""

    rows: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def add(self, stage: str, fault: str, survived: bool, lost: int) -> None:
        row = self.rows.setdefault((stage, fault), [0, 0, 0])
        self.rows[stage, fault] = [row[0] + 1, row[1] + survived, row[2] + lost]

    def __str__(self) -> str:
        lines = [f"| {stage} | {fault} | {' | '.join(map(str, counts))} |" for (stage, fault), counts in self.rows.items()]
        total = [sum(column) for column in zip(*self.rows.values(), strict=True)]
        lines.append(f"| all | | {' | '.join(map(str, total))} |")
        return "\n".join(["| stage | fault | tried | survived | files lost |", "| --- | --- | ---: | ---: | ---: |", *lines])


def printed(table: Shown, request: pytest.FixtureRequest) -> Iterator[Shown]:
    """The body of a fixture: the table, kept for the end of the session, in whichever process it is filled."""
    yield table
    worker = getattr(request.config, "workeroutput", None)  # of pytest-xdist
    tables = request.config.stash.setdefault(TABLES, []) if worker is None else worker.setdefault("tables", [])
    tables.append(str(table))


def flip(path: Path) -> None:
    """Turn over one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
