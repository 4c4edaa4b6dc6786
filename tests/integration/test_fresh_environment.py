"""`workflow/install.py` itself, from nothing, with the oldest and the newest Python of this machine, in a copy as a clone would be."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from installing import PROJECT, find_python, load_script
from packaging.markers import Marker
from workflow_runner import TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # torch with CUDA, where nothing else is to be had, is a download of 3 GB

HERE = [version for version in load_script().SUPPORTED if find_python(version)]
PIN = re.compile(r"^([\w.-]+)==([^\s+;]+)(?: ; (.+))?$", re.M)
IGNORED = shutil.ignore_patterns(".*", "results", "build", "*.egg-info", "__pycache__")


def lines_of(command: list[str | Path], folder: Path) -> list[str]:
    """What a command prints, where it must succeed. Nothing of the environment that runs the tests reaches it."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    done = subprocess.run(command, cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def pins_for(lock: Path, version: str) -> dict[str, str]:
    """What the lock says to this Python here: some packages have one release for it and another for a later one."""
    here = {"python_full_version": version, "python_version": version.rpartition(".")[0]}
    return {name: pin for name, pin, marker in PIN.findall(lock.read_text()) if not marker or Marker(marker).evaluate(here)}


@pytest.fixture(params=sorted({HERE[0], HERE[-1]}))
def clone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A copy of the project, and the Python to install it with. Gigabytes: not left to pytest, which keeps folders."""
    python = find_python(request.param)
    assert python is not None
    yield shutil.copytree(PROJECT, tmp_path / "clone", ignore=IGNORED), python
    shutil.rmtree(tmp_path / "clone")


def test_from_nothing_to_a_report(clone: tuple[Path, Path]) -> None:
    folder, python = clone
    install = [python, "workflow/install.py"]
    said = lines_of(install, folder)
    assert said[-1] == "install: ready. Now run: .venv/bin/npo run"
    assert len(said) <= 4

    program = "import platform, torch, npo_pipeline as npo; print(platform.python_version(), torch.version.cuda, npo.__file__)"
    version, cuda, place = lines_of([".venv/bin/python", "-c", program], folder)[-1].split()
    assert Path(place).is_relative_to(folder)
    installed = lines_of([".venv/bin/uv", "pip", "freeze", "-q"], folder)
    assert (cuda == "None") == (not any(re.match("nvidia-|cuda-", line) for line in installed)), installed
    pins = pins_for(folder / "requirements.lock", version)
    found = {name: pin for name, pin, _ in PIN.findall("\n".join(line.partition("+")[0] for line in installed)) if name in pins}
    assert len(found) > 80
    assert found == {name: pins[name] for name in found}

    lines_of([".venv/bin/npo", "run", "--cores", "2", *TINY.split()], folder)
    repeated = lines_of([".venv/bin/snakemake", "--cores", "2", "--config", f"overrides={TINY}"], folder)
    assert any(line.startswith("Nothing to be done") for line in repeated), repeated  # the same run by either command
    assert (folder / "results/default/report.html").is_file()

    # Once more with nothing to do, and once as after a download that broke off.
    again = [line for line in said if "virtual environment" not in line and "cannot be reached" not in line]
    assert lines_of(install, folder) == again
    assert lines_of([".venv/bin/uv", "pip", "freeze", "-q"], folder) == installed
    lines_of([".venv/bin/python", "-m", "pip", "uninstall", "-q", "-y", "hydra-core", "uv"], folder)
    assert lines_of(install, folder) == again
    assert lines_of([".venv/bin/uv", "pip", "freeze", "-q"], folder) == installed
