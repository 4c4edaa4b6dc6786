"""Installed as a wheel, away from the clone: `npo init`, then `npo run` of one's own experiment."""

import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from workflow_runner import PROJECT

SMALL = [
    *["policy.scratch.hidden_size=32", "policy.scratch.intermediate_size=64", "policy.scratch.layers=2", "policy.cold_start.steps=100"],
    *["grpo.prompts_per_step=8", "grpo.group_size=4", "sampling.max_new_tokens=8", "probe.steps=4", "probe.checkpoint_every=2"],
    *["guidance.every=2", "guidance.samples=4", "guidance.lookback=4", "task.eval_size=8"],
    *["evaluate.samples=2", "evaluate.ks=[1,2]", "evaluate.bootstrap=100", "report.title=it's ü (1) #2 {x} $HOME ~!"],
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of an environment that has the wheel, and sees the packages of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(PROJECT)]
    subprocess.run([*build, "--no-build-isolation"] if _has("hatchling") else build, check=True, timeout=300)
    venv.create(folder / "venv", with_pip=False)
    places = folder / f"venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (places / "others.pth").write_text("\n".join(site.getsitepackages()))
    install = [sys.executable, "-m", "pip", "--python", str(folder / "venv/bin/python"), "install", "-q", "--no-deps", "--ignore-installed"]
    subprocess.run([*install, *map(str, folder.glob("*.whl"))], check=True, timeout=300)
    return folder / "venv/bin"


def _has(module: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode == 0


@pytest.mark.slow
def test_ones_own_experiment_runs_away_from_the_clone(installed: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}

    def npo(*arguments: str, folder: Path) -> str:
        done = [str(installed / "npo"), *arguments]
        ended = subprocess.run(done, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    npo("init", "my own", folder=tmp_path)
    said = npo("run", "mine", *SMALL, "--cores", "2", folder=tmp_path / "my own")
    assert "Report: results/mine/report.html" in said
    assert "it&#39;s ü (1) #2 {x} $HOME ~!" in (tmp_path / "my own/results/mine/report.html").read_text()
    assert "Nothing to be done" in npo("run", "mine", *SMALL, "--cores", "2", folder=tmp_path / "my own")
    npo("report", folder=tmp_path / "my own")
    npo("verify", "results/mine", folder=tmp_path / "my own")
    assert "total" in npo("run", "smollm2_gsm8k", "-n", "policy=tiny", folder=tmp_path)
