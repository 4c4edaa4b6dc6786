"""workflow/install.py as a module, and the Pythons of this machine that it takes: for the tests of it."""

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = PROJECT / "workflow/install.py"


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("npo_install", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def find_python(version: str) -> Path | None:
    """A Python of this minor version that really runs here: this one, one of pyenv, or one on the PATH (where pyenv's shims may refuse)."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [Path(sys.executable)] if f"{sys.version_info[0]}.{sys.version_info[1]}" == version else []
    places += [*pyenv.glob(f"versions/{version}.*/bin/python"), *(Path(folder) / f"python{version}" for folder in os.get_exec_path())]
    return next((place for place in places if os.access(place, os.X_OK) and answer(place) == version), None)


def answer(python: Path) -> str | None:
    """The minor version of a Python that can make environments."""
    code = "import ensurepip, json, sys, venv; print(json.dumps(sys.version_info[:2]))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=20)
        major, minor = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):  # a configuration script of the same name, a shim that refuses
        return None
    return f"{major}.{minor}"
