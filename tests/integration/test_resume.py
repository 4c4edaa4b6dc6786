"""A run that was killed and started again equals one that was not, byte by byte."""

import subprocess
import sys

import pytest
from workflow_runner import Workflow, kill_when

pytestmark = pytest.mark.slow


def stage(finished: Workflow, name: str, config: str, *options: str) -> list[str]:
    return [sys.executable, "-m", f"npo_pipeline.stages.{name}", "--config", str(finished.results / f"config/{config}.yaml"), *options]


@pytest.mark.parametrize(("name", "config", "run"), [("probe", "probe", "probe"), ("guided", "guided-npo", "npo")])
def test_kill_and_resume(finished: Workflow, name: str, config: str, run: str) -> None:
    folder = finished.results / "seed-0" / run
    before = finished.digests(f"seed-0/{run}")
    command = stage(finished, name, config, "--save-every", "1")
    kill_when(command, (folder / "state/state.json").exists)
    assert not (folder / "manifest.json").exists(), "killed too late: the run had finished"
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert f"{run}: resuming from step " in done.stdout
    assert finished.digests(f"seed-0/{run}") == before


def test_a_state_of_another_configuration_is_not_resumed(finished: Workflow) -> None:
    folder = finished.results / "seed-0/probe"
    (folder / "state").mkdir()
    (folder / "state/state.json").write_text('{"step": 2, "fingerprint": "of another run"}')
    before = finished.digests("seed-0/probe")
    done = subprocess.run(stage(finished, "probe", "probe"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "resuming" not in done.stdout
    assert finished.digests("seed-0/probe") == {name: digest for name, digest in before.items() if "/state/" not in name}
