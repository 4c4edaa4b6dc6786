"""Results that an older version of the code wrote: every kind of file says its version, and the stage that reads it refuses it."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from faults import run_stage
from workflow_runner import Workflow

pytestmark = pytest.mark.slow

DATA, ARTIFACT, CONFIG = 65, 66, 78


def number(key: str, value: int) -> Callable[[Path], None]:
    """Another number behind `key`, in JSON or YAML."""
    return lambda path: path.write_text(re.sub(rf'("?{key}"?): \d+', rf"\1: {value}", path.read_text(), count=1))


def parquet(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | {b"npo.schema_version": b"1"}), path)


GUIDED, EVALUATE = ("guided", "guided-npo"), ("evaluate", "evaluate", "--policy", "npo")
OLDER = [
    ("prepare/manifest.json", number("schema", 1), ("probe", "probe"), ARTIFACT, "schema 1, this code reads schema 2"),
    ("seed-0/probe/manifest.json", number("schema", 1), ("guide", "guide"), ARTIFACT, "schema 1, this code reads schema 2"),
    ("seed-0/evaluation/npo.json", number("schema", 1), ("report", "report"), ARTIFACT, "schema 1, this code reads schema 2"),
    ("seed-0/npo/schedule.yaml", number("schema", 0), GUIDED, DATA, "schema 0, this code reads schema 1"),
    ("config/probe.yaml", number("version", 3), ("probe", "probe"), CONFIG, "version 3 of the stage probe, this code is version "),
    ("config/evaluate.yaml", number("version", 1), EVALUATE, CONFIG, "version 1 of the stage evaluate, this code is version "),
]
# Manifests vouch for these, so an older one comes with its own manifest: `verify` and the unit tests of each reader look inside.


@pytest.mark.parametrize(("name", "age", "command", "code", "line"), OLDER)
def test_a_file_of_an_older_version_is_refused_with_the_version_named(
    finished: Workflow, name: str, age: Callable[[Path], None], command: tuple[str, ...], code: int, line: str
) -> None:
    path = finished.results / name
    age(path)
    before = finished.digests()
    done = run_stage(finished, *command)
    assert done.returncode == code, done.stdout
    assert done.stdout.startswith(f"error: {path}: {line}")
    assert len(done.stdout.splitlines()) == 1
    assert finished.digests() == before
