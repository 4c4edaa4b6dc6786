"""Bad input, as a user meets it: one line that says what is wrong and how to mend it, an exit code of its own, nothing half-written.

The values and texts that can be wrong are listed in tests/unit (compose, schedule, storage, tasks_dataset); here the real stages run.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from damage import Damage, cut, edit, nothing, remove, write
from workflow_runner import PROJECT, Workflow

pytestmark = pytest.mark.slow

CONFIG, DATA, ARTIFACT, STORAGE, USAGE = 78, 65, 66, 74, 2  # exit codes; 1 is a crash
SMALL = "policy.cold_start.steps=5 policy.cold_start.examples=64"
SHARD = "seed-0/guide/step-000002/trajectories-00000-of-00001.parquet"


@dataclass
class Ran:
    code: int
    said: str


def stage(root: Path, name: str, *options: str, config: str = "") -> Ran:
    """A stage by hand, on the experiment in `root`."""
    file = root / "config" / f"{config or name}.yaml"
    command = [sys.executable, "-m", f"npo_pipeline.stages.{name}", "--config", str(file), *options]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    return Ran(done.returncode, done.stderr.strip())


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """An experiment as far as its schedule: prepare, probe, guide, plan."""
    workflow = Workflow(tmp_path_factory.mktemp("planned"))
    targets = ("seed-0/npo/schedule.yaml", "config/guided-npo.yaml", "config/evaluate.yaml")
    workflow.run(*(f"results/default/{target}" for target in targets), overrides=SMALL)
    return workflow


@pytest.fixture
def copy(planned: Workflow, tmp_path: Path) -> Workflow:
    shutil.copytree(planned.folder, tmp_path / "copy")
    return Workflow(tmp_path / "copy")


def listing(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file()}


BY_HAND: list[tuple[Damage, str, list[str], int, str]] = [
    (edit("config/probe.yaml", grpo__learning_rat=1), "probe", [], CONFIG, "probe.yaml: grpo.learning_rat: no such key; did you mean"),
    (edit("config/probe.yaml", grpo__group_size=1), "probe", [], CONFIG, "probe.yaml: grpo.group_size=1: expected at least 2"),
    (
        edit("config/prepare.yaml", task__name="chain_summ"),
        "prepare",
        [],
        CONFIG,
        "task.name=chain_summ: no such reasoning-gym dataset; did",
    ),
    (edit("config/guide.yaml", guide_steps=[3]), "guide", [], CONFIG, "guide_steps=[3]: the probe has no checkpoint 3; there are 0, 2, 4"),
    (remove("config/probe.yaml"), "probe", [], CONFIG, "config/probe.yaml: No such file or directory. Give the file"),
    (remove("prepare/manifest.json"), "probe", [], ARTIFACT, "prepare/manifest.json: not found"),
    (write("prepare/manifest.json", "{"), "probe", [], ARTIFACT, "prepare/manifest.json: damaged (JSONDecodeError"),
    (remove("prepare/policy/model.safetensors"), "probe", [], ARTIFACT, "model.safetensors: listed in the manifest but not found"),
    (cut("seed-0/probe/rollouts/step-000001.parquet"), "guide", [], ARTIFACT, "rollouts/step-000001.parquet: damaged"),
    (cut(SHARD), "guided", [], ARTIFACT, f"{SHARD}: damaged"),
    (
        edit("config/guide.yaml", gate=0.3),
        "guide",
        ["--gather"],
        ARTIFACT,
        "step-000002: made from another configuration or probe",
    ),
    (edit("seed-0/npo/schedule.yaml", windows__0__guide_step=3), "guided", [], DATA, "windows[0].guide_step=3: no such guide checkpoint"),
    (edit("seed-0/npo/schedule.yaml", windows__1__to_step=9), "guided", [], DATA, "windows[1].to_step=9: past the last checkpoint"),
    (remove("seed-0/npo/schedule.yaml"), "guided", [], ARTIFACT, "schedule.yaml: not found, expected from the stage `plan`"),
    (nothing, "guide", ["--seed", "7"], ARTIFACT, "seed-7/probe/manifest.json: not found"),
    (nothing, "evaluate", ["--policy", "npoo"], ARTIFACT, "seed-0/npoo/manifest.json: not found"),
    (nothing, "guide", ["--job", "2", "--jobs", "2"], CONFIG, "--job 2 --jobs 2: expected 0 <= job < jobs"),
]


@pytest.mark.parametrize(
    ("damage", "name", "options", "code", "line"), BY_HAND, ids=lambda value: getattr(value, "__name__", str(value))[:40]
)
def test_a_stage_by_hand_says_it_in_one_line(copy: Workflow, damage: Damage, name: str, options: list[str], code: int, line: str) -> None:
    damage(copy.results)
    before = listing(copy.results)
    ran = stage(copy.results, name, *options, config="guided-npo" if name == "guided" else "")
    assert ran.code == code, ran.said
    assert ran.said.startswith("error: ")
    assert line in ran.said
    assert "\n" not in ran.said
    assert listing(copy.results) == before


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--seed", "-1"], "argument --seed: found -1, expected at least 0"),
        (["--workers", "0"], "argument --workers: found 0, expected at least 1"),
        (["--device", "gpu"], "argument --device: found 'gpu', expected auto, cpu, cuda or cuda:N"),
        (["--policy", "../x"], "argument --policy: found '../x', expected a name, not a path"),
    ],
)
def test_a_wrong_option_is_named(planned: Workflow, options: list[str], line: str) -> None:
    ran = stage(planned.results, "evaluate", "--policy", "initial", *options)
    assert (ran.code, ran.said.splitlines()[-1]) == (USAGE, f"python -m npo_pipeline.stages.evaluate: error: {line}")


def test_bad_input_is_refused_before_torch_is_imported(copy: Workflow) -> None:
    cut(SHARD)(copy.results)
    command = [sys.executable, "-X", "importtime", "-m", "npo_pipeline.stages.guided", "--config", copy.results / "config/guided-npo.yaml"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode == ARTIFACT
    assert "npo_pipeline.configuration.compose" in imported
    assert not imported & {"torch", "transformers", "vllm"}


def test_a_damaged_shard_is_made_again_as_its_error_says(copy: Workflow) -> None:
    before = copy.digests("seed-0/guide")
    whole = copy.results / "seed-0/guide/step-000004/manifest.json"
    kept = whole.stat().st_mtime_ns
    cut(SHARD)(copy.results)
    said = stage(copy.results, "guided", config="guided-npo").said
    guide = copy.results / "seed-0/guide"
    assert f"Delete {guide}/jobs and {guide}/manifest.json, then run snakemake again" in said
    shutil.rmtree(guide / "jobs")
    (guide / "manifest.json").unlink()
    copy.run("--until", "plan", overrides=SMALL)
    assert copy.digests("seed-0/guide") == before
    assert whole.stat().st_mtime_ns == kept


GOOD_ROWS = [{"question": f"{i} + {i} =", "answer": str(2 * i)} for i in range(12)]
BAD_ROW = json.dumps({"question": "q"}).encode()


def test_a_bad_row_stops_the_workflow_and_once_mended_it_goes_on(empty: Workflow) -> None:
    data = empty.folder / "rows.jsonl"
    data.write_bytes("".join(json.dumps(row) + "\n" for row in GOOD_ROWS).encode() + BAD_ROW + b"\n")
    overrides = f"task=dataset task.train={data} grpo.prompts_per_step=2 task.train_size=null {SMALL}"
    failed = empty.call("--until", "prepare", overrides=overrides)
    assert failed.returncode == 1
    assert f"error: {data}, line 13: no column 'answer'" in failed.stdout
    assert f"non-zero exit status {DATA}." in failed.stdout
    assert "Traceback" not in failed.stdout
    assert not listing(empty.results / "prepare")
    data.write_bytes(data.read_bytes().replace(BAD_ROW, json.dumps({"question": "q", "answer": "1"}).encode()))
    assert empty.run("--until", "prepare", overrides=overrides) == {"prepare"}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ("task=nope", "task=nope: no such file in "),
        ("method.npo.windows=[{from_step:0,to_step:9,guide_step:4}]", "method.npo.windows[0].to_step=9: past the last checkpoint"),
        ("policy=hf policy.path={folder}", "policy.path='{folder}': expected a model directory, but it holds no config.json"),
    ],
)
def test_the_workflow_says_it_before_any_job(empty: Workflow, overrides: str, line: str) -> None:
    failed = empty.call("-n", overrides=overrides.replace("{folder}", str(empty.folder)))
    assert failed.returncode == 1
    assert "\n" + line.replace("{folder}", str(empty.folder)) in failed.stdout
    assert "Traceback" not in failed.stdout
    assert not empty.results.exists()


@dataclass
class Disk:
    """A disk of our own, with the planned experiment on it."""

    mount: Path
    root: Path

    def fill(self, free: int) -> None:
        """Leave `free` bytes."""
        state = os.statvfs(self.mount)
        with open(self.mount / "ballast", "wb") as ballast:
            ballast.write(b"\0" * (state.f_bavail * state.f_bsize - free))

    def empty(self) -> None:
        (self.mount / "ballast").unlink()


@pytest.fixture
def disk(planned: Workflow, tmp_path: Path) -> Iterator[Disk]:
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", mount], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"needs the right to mount a small disk: {made.stderr.strip()}")
    try:
        shutil.copytree(planned.results, mount / "results")
        yield Disk(mount, mount / "results")
    finally:
        subprocess.run(["umount", mount], check=True)


FULL = [
    ("guide", "seed-0/guide", 0, "seed-0/guide/parts/step-000002/"),  # the first batch that is kept
    ("probe", "seed-0/probe", 100_000, ": could not be written: "),  # the first checkpoint, or the roll-outs beside it
]


@pytest.mark.parametrize(("name", "below", "free", "line"), FULL)
def test_a_full_disk_is_said_and_with_space_the_stage_completes(disk: Disk, name: str, below: str, free: int, line: str) -> None:
    before = disk_digests(disk.root / below)
    shutil.rmtree(disk.root / below)
    disk.fill(free)
    ran = stage(disk.root, name)
    assert ran.code == STORAGE, ran.said
    error = ran.said.splitlines()[-1]
    assert error.startswith(f"error: {disk.root}/")
    assert line in error
    assert os.strerror(errno.ENOSPC) in error
    assert "Traceback" not in ran.said
    assert not list(disk.root.rglob("*.partial*"))
    assert not (disk.root / below / "manifest.json").exists()
    disk.empty()
    assert stage(disk.root, name).code == 0
    assert disk_digests(disk.root / below) == before


def test_a_disk_that_is_full_at_the_manifest_leaves_a_stage_that_has_not_happened(disk: Disk) -> None:
    """Room for the table of signals, to the page, and for nothing after it."""
    guide = disk.root / "seed-0/guide"
    before, page = disk_digests(guide), os.statvfs(disk.mount).f_bsize
    room = -(-(guide / "signal.parquet").stat().st_size // page) * page
    (guide / "signal.parquet").unlink()
    (guide / "manifest.json").unlink()
    disk.fill(room)
    ran = stage(disk.root, "guide", "--gather")
    assert ran.code == STORAGE, ran.said
    assert ran.said.startswith(f"error: {guide}/manifest.json: could not be written: {os.strerror(errno.ENOSPC)}")
    assert (guide / "signal.parquet").is_file()
    assert not (guide / "manifest.json").exists()
    assert not list(disk.root.rglob("*.partial*"))
    disk.empty()
    assert stage(disk.root, "guide", "--gather").code == 0
    assert disk_digests(guide) == before


def disk_digests(folder: Path) -> dict[str, bytes]:
    skipped = ("timings.jsonl",)
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(listing(folder)) if file.name not in skipped}


@pytest.mark.parametrize(("name", "config"), [("plan", "plan-npo"), ("probe", "probe")])
def test_a_read_only_folder_is_said(disk: Disk, name: str, config: str) -> None:
    before = listing(disk.root)
    subprocess.run(["mount", "-o", "remount,ro", disk.mount], check=True)
    ran = stage(disk.root, name, config=config)
    assert ran.code == STORAGE, ran.said
    assert os.strerror(errno.EROFS) in ran.said
    assert ran.said.startswith(f"error: {disk.root}")
    assert "\n" not in ran.said
    assert listing(disk.root) == before
