"""Faults on a real experiment with deltas: damage to every kind of file, kills at random moments, a moved folder. Prints a table.

`NPO_FAULT_KILLS=50 pytest tests/integration/test_faults.py` for many kills; without it there are few.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from workflow_runner import Workflow, stop_when

pytestmark = pytest.mark.slow

ARTIFACT = 66
KILLS = int(os.environ.get("NPO_FAULT_KILLS", "3"))
OVERRIDES = "policy.dtype=bfloat16 grpo.learning_rate=1e-5 probe.checkpoint_every=1 guided.checkpoint_every=1"
STAGES = {
    "probe": ("probe", "probe", "seed-0/probe"),
    "guide": ("guide", "guide", "seed-0/guide"),
    "guided": ("guided", "guided-npo", "seed-0/npo"),
}


@dataclass
class Table:
    """What was tried, by kind of fault: how often, how often it came to the undisturbed run's bytes, files that did not."""

    rows: dict[str, list[int]] = field(default_factory=dict)

    def add(self, fault: str, survived: bool, lost: int) -> None:
        row = self.rows.setdefault(fault, [0, 0, 0])
        self.rows[fault] = [row[0] + 1, row[1] + survived, row[2] + lost]

    def __str__(self) -> str:
        lines = [f"| {fault} | {tried} | {survived} | {lost} |" for fault, (tried, survived, lost) in self.rows.items()]
        return "\n".join(["| fault | tried | survived | files lost |", "| --- | ---: | ---: | ---: |", *lines])


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    table = Table()
    yield table
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{table}")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("faults"))
    workflow.run(overrides=OVERRIDES)
    return workflow


@pytest.fixture
def copy(experiment: Workflow, tmp_path: Path) -> Workflow:
    shutil.copytree(experiment.folder, tmp_path / "copy")
    return Workflow(tmp_path / "copy")


def command_of(workflow: Workflow, name: str, *options: str) -> list[str]:
    module, config, _ = STAGES.get(name, (name, name, ""))
    return [sys.executable, "-m", f"npo_pipeline.stages.{module}", "--config", str(workflow.results / f"config/{config}.yaml"), *options]


def call(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)


def cut(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path, other: Path) -> None:
    shutil.copy(other, path)


DAMAGES: list[Callable[[Path, Path], None]] = [cut, flip, swap]
PROBE, GUIDE = "seed-0/probe", "seed-0/guide"
SHARD = "trajectories-00000-of-00001.parquet"
# A file, another of its kind, and the command that reads it.
TARGETS = [
    (f"{PROBE}/checkpoints/step-000002/delta/delta.safetensors", f"{PROBE}/checkpoints/step-000003/delta/delta.safetensors", ["guide"]),
    (f"{PROBE}/checkpoints/step-000000/model.safetensors", "seed-0/npo/policy/model.safetensors", ["evaluate", "--policy", "probe"]),
    (f"{PROBE}/checkpoints/step-000002/checkpoint.json", f"{PROBE}/checkpoints/step-000003/checkpoint.json", ["guide"]),
    (f"{PROBE}/rollouts/step-000001.parquet", "seed-0/npo/rollouts/step-000002.parquet", ["guide"]),
    (f"{PROBE}/manifest.json", "seed-0/npo/manifest.json", ["guide"]),
    ("prepare/policy/model.safetensors", "seed-0/npo/policy/model.safetensors", ["probe"]),
    ("prepare/problems.parquet", f"{PROBE}/rollouts/step-000000.parquet", ["probe"]),
    (f"{GUIDE}/step-000002/{SHARD}", f"{GUIDE}/step-000004/{SHARD}", ["guided"]),
    (f"{GUIDE}/step-000002/manifest.json", f"{GUIDE}/step-000004/manifest.json", ["guided"]),
]


def test_damage_is_found_before_use_and_named(copy: Workflow, table: Table) -> None:
    """In every kind of file, by the stage that reads it and by `verify`; nothing is written meanwhile."""
    missed = []
    for name, other, (stage, *options) in TARGETS:
        path, whole = copy.results / name, (copy.results / name).read_bytes()
        for damage in DAMAGES:
            damage(path, copy.results / other)
            before = copy.digests()
            done = call(command_of(copy, stage, *options))
            named = done.returncode == ARTIFACT and str(path) in done.stdout and len(done.stdout.splitlines()) == 1
            changed = sum(before[file] != digest for file, digest in copy.digests().items() if file in before)
            table.add(f"{Path(name).name.split('-0')[0]} {damage.__name__}: found and named", named, changed)
            if not named or changed:
                missed.append((name, damage.__name__, done.stdout[-300:]))
            path.write_bytes(whole)
    assert not missed


def test_verify_names_every_damaged_file_at_once(copy: Workflow) -> None:
    files = [name for name, _, _ in TARGETS if not name.endswith("manifest.json")]  # what a damaged manifest lists cannot be checked
    for name in files:
        flip(copy.results / name, copy.results / name)
    done = call([sys.executable, "-m", "npo_pipeline.storage", "verify", str(copy.results)])
    assert done.returncode == ARTIFACT, done.stdout
    for name in files:
        assert f"\n{copy.results / name}: " in f"\n{done.stdout}"


def test_a_damaged_delta_is_mended_by_its_stage_alone(copy: Workflow, table: Table) -> None:
    before, delta = copy.digests(), copy.results / TARGETS[0][0]
    flip(delta, delta)
    said = call(command_of(copy, "guide")).stdout
    assert f"{copy.results / PROBE}/manifest.json and run snakemake again" in said
    (copy.results / PROBE / "manifest.json").unlink()
    done = call(command_of(copy, "probe"))
    assert done.returncode == 0, done.stdout
    lost = sum(digest != copy.digests()[file] for file, digest in before.items())
    table.add("damaged delta: its stage run again", lost == 0, lost)
    assert lost == 0
    assert copy.planned(overrides=OVERRIDES) == set()


def test_kill_at_random_moments(copy: Workflow, table: Table) -> None:
    """kill -9 of a stage and its children, during writes too; the same command again comes to the undisturbed run's bytes."""
    before, rng = copy.digests(), random.Random(os.environ.get("NPO_FAULT_SEED", "0"))
    lasted = {name: duration(copy, name) for name in STAGES}
    for i in range(KILLS):
        name = list(STAGES)[i % len(STAGES)]
        shutil.rmtree(copy.results / STAGES[name][2])
        restore_schedule(copy, name)
        options = [] if name == "guide" else ["--save-every", "1"]
        moment = time.monotonic() + rng.uniform(0.3, 1.0) * lasted[name]
        stop_when(command_of(copy, name, *options), lambda moment=moment: time.monotonic() > moment, None, [9])
        done = call(command_of(copy, name, *options))
        after = copy.digests(STAGES[name][2])
        lost = sum(after.get(file) != digest for file, digest in before.items() if file.startswith(STAGES[name][2] + "/"))
        lost -= sum(file.startswith(f"{GUIDE}/jobs") for file in before if name == "guide" and file not in after)
        table.add(f"kill -9 of {name}", done.returncode == 0 and lost == 0, lost)
        assert done.returncode == 0, done.stdout
        assert lost == 0, (name, done.stdout)


def duration(workflow: Workflow, name: str) -> float:
    """Seconds of an undisturbed run of this stage on this machine at this time."""
    shutil.rmtree(workflow.results / STAGES[name][2])
    restore_schedule(workflow, name)
    began = time.monotonic()
    done = call(command_of(workflow, name))
    assert done.returncode == 0, done.stdout
    return time.monotonic() - began


def restore_schedule(workflow: Workflow, name: str) -> None:
    """The schedule lies in the folder of the run that follows it; it is the plan stage's."""
    if name == "guided":
        plan = [sys.executable, "-m", "npo_pipeline.stages.plan", "--config", str(workflow.results / "config/plan-npo.yaml")]
        assert call(plan).returncode == 0


def test_a_moved_folder_still_works(copy: Workflow, tmp_path: Path, table: Table) -> None:
    before = copy.digests()
    shutil.move(copy.folder, tmp_path / "elsewhere")
    moved = Workflow(tmp_path / "elsewhere")
    assert moved.planned(overrides=OVERRIDES) == set()
    result = moved.results / "seed-0/evaluation/probe.json"
    result.unlink()
    done = call(command_of(moved, "evaluate", "--policy", "probe"))
    assert done.returncode == 0, done.stdout
    lost = sum(digest != moved.digests()[file] for file, digest in before.items())
    table.add("results moved to another path", lost == 0, lost)
    assert lost == 0
