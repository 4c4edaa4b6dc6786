"""A run that was killed and started again equals one that was not, byte by byte."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from workflow_runner import Workflow, kill_when, stop_when

from npo_pipeline.storage.lock import only_writer

pytestmark = pytest.mark.slow


def stage(finished: Workflow, name: str, config: str, *options: str) -> list[str]:
    return [sys.executable, "-m", f"npo_pipeline.stages.{name}", "--config", str(finished.results / f"config/{config}.yaml"), *options]


COMMANDS = {"probe": lambda w: stage(w, "probe", "probe"), "npo": lambda w: stage(w, "guided", "guided-npo")}
STOPPED = 75


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)


def ends_as_before(workflow: Workflow, below: str, command: list[str], before: dict[str, str]) -> str:
    """Run to the end; what it said."""
    done = run(command)
    assert done.returncode == 0, done.stdout
    assert workflow.digests(f"seed-0/{below}") == before
    return done.stdout


# Moments, as what lies in the run's folder then: a roll-out, a checkpoint half written, one whole, a state half written, two states.
MOMENTS = [
    ("probe", "rollouts/step-000000.parquet"),
    ("npo", "checkpoints/.step-000002.partial"),
    ("probe", "checkpoints/step-000002"),
    ("npo", "state/.step-000002.partial"),
    ("probe", "state/.step-000003.partial"),
    ("npo", "state/step-000002"),
]


@pytest.mark.parametrize(("below", "moment"), MOMENTS)
def test_kill_and_resume(finished: Workflow, below: str, moment: str) -> None:
    folder = finished.results / "seed-0" / below
    before = finished.digests(f"seed-0/{below}")
    command = [*COMMANDS[below](finished), "--save-every", "1"]
    kill_when(command, (folder / moment).exists, folder)
    assert not (folder / "manifest.json").exists(), "killed too late: the run had finished"
    saved = [state.name for state in (folder / "state").glob("step-*")]
    said = ends_as_before(finished, below, command, before)
    assert not saved or f"{below}: resuming from step {int(max(saved)[5:])}\n" in said


def test_a_signal_ends_the_step_and_saves(finished: Workflow) -> None:
    number = signal.SIGTERM  # the others: tests/unit/test_stopping.py
    folder, before = finished.results / "seed-0/npo", finished.digests("seed-0/npo")
    command = stage(finished, "guided", "guided-npo")
    code, said = stop_when(command, (folder / "rollouts/step-000000.parquet").exists, folder, [number])
    assert code == STOPPED, said
    (state,) = (folder / "state").glob("step-*")
    step = int(state.name[5:])
    assert f"stopped: npo: by {number.name} before step {step}; the same command resumes there" in said
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == step
    assert f"npo: resuming from step {step}\n" in ends_as_before(finished, "npo", command, before)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_state_costs_its_steps_and_no_more(finished: Workflow) -> None:
    folder, before = finished.results / "seed-0/probe", finished.digests("seed-0/probe")
    command = stage(finished, "probe", "probe", "--save-every", "1")
    kill_when(command, (folder / "state/step-000003").exists, folder)
    flip(folder / "state/step-000003/trainer.safetensors")
    said = ends_as_before(finished, "probe", command, before)
    assert f"{folder}/state/step-000003: not usable (" in said
    assert "probe: resuming from step 2\n" in said


def test_a_state_of_another_configuration_is_not_resumed(finished: Workflow) -> None:
    folder, before = finished.results / "seed-0/probe", finished.digests("seed-0/probe")
    state = folder / "state/step-000002"
    state.mkdir(parents=True)
    (state / "state.json").write_text(json.dumps({"step": 2, "fingerprint": "of another run", "sha256": ""}))
    assert "resuming" not in ends_as_before(finished, "probe", stage(finished, "probe", "probe"), before)


def test_a_run_out_of_memory_goes_on_with_smaller_batches(finished: Workflow) -> None:
    """What it had is days of work at 8B."""
    folder, file = finished.results / "seed-0/probe", finished.results / "config/probe.yaml"
    command = [*COMMANDS["probe"](finished), "--save-every", "1"]
    kill_when(command, (folder / "state/step-000002").exists, folder)
    kept = (folder / "rollouts/step-000000.parquet").stat().st_mtime_ns
    smaller = file.read_text().replace("micro_batch_tokens: 2048", "micro_batch_tokens: 64").replace("max_batch: 256", "max_batch: 8")
    assert smaller != file.read_text()
    file.write_text(smaller)
    done = run(command)
    assert done.returncode == 0, done.stdout
    assert "probe: resuming from step " in done.stdout
    assert (folder / "rollouts/step-000000.parquet").stat().st_mtime_ns == kept


def test_a_machine_that_comes_back_with_half_of_the_files(finished: Workflow) -> None:
    """The newest state claims steps whose roll-outs are gone; then a checkpoint before it is gone: what is lost is made again."""
    folder, before = finished.results / "seed-0/probe", finished.digests("seed-0/probe")
    command = stage(finished, "probe", "probe", "--save-every", "1")
    kill_when(command, (folder / "state/step-000003").exists, folder)
    (folder / "rollouts/step-000002.parquet").unlink()
    assert "the run's files are whole up to step 2" in ends_as_before(finished, "probe", command, before)
    kill_when(command, (folder / "state/step-000003").exists, folder)
    shutil.rmtree(folder / "checkpoints/step-000002")
    said = ends_as_before(finished, "probe", command, before)
    assert "state/step-000003: not usable (the run's files are whole up to step 2)" in said
    assert "probe: resuming from step 2\n" in said


def test_guide_generation_resumes_in_the_middle_of_a_checkpoint(finished: Workflow) -> None:
    file, folder = finished.results / "config/guide.yaml", finished.results / "seed-0/guide"
    file.write_text(file.read_text().replace("max_batch: 256", "max_batch: 1"))  # so that there are several batches
    shutil.rmtree(folder)  # or whole guide checkpoints would be kept: a batch's size changes them by rounding only
    command = stage(finished, "guide", "guide")
    assert run(command).returncode == 0
    before = finished.digests("seed-0/guide")
    shutil.rmtree(folder)
    kill_when(command, lambda: len(list(folder.glob("parts/step-*/*-*.parquet"))) >= 3)
    flip(next(folder.glob("parts/step-*/*-*.parquet")))
    said = ends_as_before(finished, "guide", command, before)
    assert re.search(r"guide: checkpoint \d+: \d+ of \d+ trajectories were on disk already", said)
    assert not (folder / "parts").exists()
    assert not list(folder.rglob("*.lock"))
    again = run(command).stdout
    assert "guide: checkpoints 2, 4 are whole and were kept; delete " in again


WRITERS = [
    ("seed-0/probe", ".lock", ("probe", "probe")),
    ("seed-0/evaluation", ".probe.lock", ("evaluate", "evaluate", "--policy", "probe")),
    ("", ".prepare.lock", ("prepare", "prepare")),
    ("", ".report.lock", ("report", "report")),
]


@pytest.mark.parametrize(("below", "lock", "command"), WRITERS)
def test_two_stages_on_one_folder_and_the_second_says_so(finished: Workflow, below: str, lock: str, command: tuple[str, ...]) -> None:
    folder, before = finished.results / below, finished.digests()
    with only_writer(folder, lock):
        before |= {
            str((folder / lock).relative_to(finished.results)): finished.digests()[str((folder / lock).relative_to(finished.results))]
        }
        second = run(stage(finished, *command))
        assert finished.digests() == before
    assert second.returncode == STOPPED
    assert f"error: {folder}: process {os.getpid()} on " in second.stdout
