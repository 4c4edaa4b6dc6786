"""One finished tiny experiment for the whole module; each test works on a copy of its own."""

import shutil
from pathlib import Path

import pytest
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
