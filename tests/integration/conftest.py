"""Finished tiny experiments, each made once for all tests and all processes that run them; a test works on a copy of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import OVERRIDES, TABLES, Table, printed
from filelock import FileLock
from workflow_runner import Workflow


def made_once(factory: pytest.TempPathFactory, name: str, overrides: str = "") -> Workflow:
    """The experiment in a folder that the processes of pytest-xdist share: whoever comes first runs it, the others wait."""
    base = factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            Workflow(folder).run(overrides=overrides)
            (folder / "done").touch()
    return Workflow(folder)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Run from nothing, in a folder whose name has a space."""
    return made_once(tmp_path_factory, "tiny experiment")


@pytest.fixture
def finished(template: Workflow, tmp_path: Path) -> Workflow:
    """A copy with its modification times, so that Snakemake sees a run that it finished itself."""
    folder = tmp_path / "a copy"
    shutil.copytree(template.folder, folder)
    return Workflow(folder)


@pytest.fixture
def empty(tmp_path: Path) -> Workflow:
    return Workflow(tmp_path)


@pytest.fixture(scope="session")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The finished experiment, undisturbed, whose copies the tests of faults harm."""
    return made_once(tmp_path_factory, "faults", OVERRIDES)


@pytest.fixture
def copy(harmed: Workflow, tmp_path: Path) -> Workflow:
    shutil.copytree(harmed.folder, tmp_path / "copy")
    return Workflow(tmp_path / "copy")


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    """Of all faults of this session; shown when it ends."""
    yield from printed(Table(), request)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of pytest-xdist has ended: its tables come here."""
    node.config.stash.setdefault(TABLES, []).extend(getattr(node, "workeroutput", {}).get("tables", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for table in config.stash.get(TABLES, []):
        terminalreporter.write_line(f"\n{table}")
