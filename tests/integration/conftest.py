"""One finished tiny experiment for the whole module; each test works on a copy of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import OVERRIDES, Table, printed
from workflow_runner import Workflow


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Run once from nothing, in a folder whose name has a space."""
    workflow = Workflow(tmp_path_factory.mktemp("tiny experiment"))
    workflow.run()
    return workflow


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
    workflow = Workflow(tmp_path_factory.mktemp("faults"))
    workflow.run(overrides=OVERRIDES)
    return workflow


@pytest.fixture
def copy(harmed: Workflow, tmp_path: Path) -> Workflow:
    shutil.copytree(harmed.folder, tmp_path / "copy")
    return Workflow(tmp_path / "copy")


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    """Of all faults of this session; printed when it ends."""
    yield from printed(Table(), request)
