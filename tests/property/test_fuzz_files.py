"""Damaged and hostile files of a results folder: each is read for what it says, or refused by name in one line. Nothing else."""

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fuzzing import TEXTS, VALUES, cases, damaged, damaged_bytes, read_or_refuse
from hypothesis import given
from hypothesis import strategies as st
from report_results import Shape, write_results

from npo_pipeline.analysis.load import load_counts, load_schedule, load_steps
from npo_pipeline.analysis.report.html import schedules
from npo_pipeline.analysis.results import Results, Run, SeedResults
from npo_pipeline.guidance.schedule import read_schedule
from npo_pipeline.storage.checkpoints import RECORD, read_records, route
from npo_pipeline.storage.guides import read_shards
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import NAME, OWN, own_sha256, verify
from npo_pipeline.storage.parquet import PROBLEMS, SCHEMA_VERSION, read_problems

SHA = "0" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write_results(tmp_path_factory.mktemp("results"), Shape(seeds=(0,), methods=("npo",), steps=4, problems=4, samples=2))


WINDOW = {"from_step": 0, "to_step": 20, "guide_step": 20, "gate": 0.6, "correction": False, "reason": "early"}
DECISION = {"step": 20, "warning": True, "candidates": [{"distance": 20, "s": 0.1}], "chosen": 20, "reason": "falls"}
WINDOWS = [WINDOW, WINDOW | {"from_step": 20, "to_step": 40, "guide_step": 40}]
SCHEDULE = {"schema": 1, "method": "npo", "windows": WINDOWS, "decisions": [DECISION]}
LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijkl"))
YAMLS = [
    f"{LAUGHS}windows: *l", f"{LAUGHS}schema: 1\nmethod: npo\nwindows: [*l]\n", "schema: 1\nmethod: npo\nwindows: &w [*w]",
    f"schema: 1\nmethod: npo\nwindows: []\ndecisions:\n- reason: &a [x, x]\n  chosen: &b [{'*a, ' * 9}]\n  step: [{'*b, ' * 9}]",
    "schema: 1\nmethod: npo\nwindows: [{from_step: 0x" + "f" * 5000 + "}]", "schema: 0x" + "f" * 5000, "schema: 1\nmethod: !!binary aGk=",
    "!!python/object/apply:os.system [id]", "? [a]\n: b", "schema: 1\nmethod: npo\nwindows: !!set {a}", "<<: [1]", "- " * 99, "[" * 999,
]  # fmt: skip


@cases()
@given(st.one_of(damaged(SCHEDULE).map(json.dumps), damaged(SCHEDULE).map(yaml.safe_dump), st.sampled_from(YAMLS), st.text(max_size=60)))
def test_schedules(folder: Path, text: str) -> None:
    path = folder / "schedule.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    read_or_refuse(lambda: read_schedule(path, 40, [20, 40], 20), path)
    if shown := read_or_refuse(lambda: load_schedule(path), path):
        seed = SeedResults(0, {"npo": Run(({"guide/injected": 1},), (), shown)}, {}, ())
        assert all(len(str(one)) < 200_000 for one in schedules(Results("x", ("npo",), (seed,), {}, {})))


def sealed(values: dict[str, Any]) -> str:
    """A manifest's text with its own hash made to fit, so that what is wrong in it is looked at."""
    return json.dumps(values | {OWN: own_sha256(values, OWN)})


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    files = [{"path": name, "size": 3, "sha256": SHA} for name in ("a.bin", "b/c.bin")]
    whole = {"schema": 2, "stage": "probe", "code_version": "0", "config_sha256": SHA, "steps": 4, "files": files}
    if draw(st.booleans()):
        return draw(damaged_bytes(sealed(whole).encode()))
    values = draw(damaged(whole))
    return (sealed(values) if draw(st.booleans()) else json.dumps(values)).encode()


@cases()
@given(manifests())
def test_manifests(folder: Path, content: bytes) -> None:
    """What is read lies below the folder, whatever the manifest lists."""
    (folder / NAME).write_bytes(content)
    if found := read_or_refuse(lambda: verify(folder), folder):
        assert all((folder / name).resolve().is_relative_to(folder) for name in found["files"])
        read_or_refuse(lambda: read_shards(folder), folder)


RECORDS = {"schema": 2, "step": 4, "previous": 2, "full": True, "dtype": "float32", "weights_sha256": SHA}
FILES = {"delta/delta.safetensors": {"size": 9, "sha256": SHA}, "model.safetensors": {"size": 90, "sha256": SHA}}


@cases()
@given(
    st.one_of(
        damaged(RECORDS | {"files": FILES}).map(json.dumps).map(str.encode), damaged_bytes(json.dumps(RECORDS | {"files": FILES}).encode())
    )
)
def test_records_of_checkpoints(folder: Path, content: bytes) -> None:
    path = folder / "run/checkpoints/step-000004" / RECORD
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if found := read_or_refuse(lambda: read_records(folder / "run"), path):
        assert all((path.parent / name).resolve().is_relative_to(path.parent) for name in found[4].files)
        read_or_refuse(lambda: route(folder / "run", found, 4), "step-000004")


@cases()
@given(st.data())
def test_evaluations_and_metrics(layout: Layout, folder: Path, data: st.DataObject) -> None:
    copy = Layout(folder / "results")
    for path, read in ((copy.evaluation("npo"), load_counts), (copy.run("npo") / "metrics.jsonl", load_steps)):
        path.parent.mkdir(parents=True, exist_ok=True)
        good = (layout.root / path.relative_to(copy.root)).read_text()
        if data.draw(st.booleans()):
            path.write_bytes(data.draw(damaged_bytes(good.encode())))
        elif path.suffix == ".json":
            path.write_text(json.dumps(data.draw(damaged(json.loads(good)))))
        else:
            path.write_text("\n".join(json.dumps(data.draw(damaged(json.loads(line)))) for line in good.splitlines()))
        read_or_refuse(lambda read=read: read(copy, "npo"), path)


def parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


COLUMNS = st.one_of(
    TEXTS, VALUES, st.lists(st.integers(-5, 2**33), max_size=3), st.just([{"path": "../x", "sha256": SHA, "width": 1, "height": 1}])
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A table of problems whose columns are missing, of other types, null, or hold what no stage writes."""
    columns: dict[str, Any] = {}
    for field in PROBLEMS:
        value = draw(COLUMNS) if draw(st.booleans()) else "{}" if field.type == pa.string() else []
        kind = (
            field.type if draw(st.integers(0, 4)) else draw(st.sampled_from([pa.string(), pa.int64(), pa.list_(pa.int64()), pa.binary()]))
        )
        try:
            columns[field.name] = pa.array([value], kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            columns[field.name] = pa.array([None], kind)
    version = draw(st.sampled_from([str(SCHEMA_VERSION)] * 5 + ["1", "x", "[" * 5000]))
    return parquet(pa.table(columns).replace_schema_metadata({"npo.schema_version": version}))


@cases()
@given(tables())
def test_tables(folder: Path, content: bytes) -> None:
    path = folder / "problems.parquet"
    path.write_bytes(content)
    for problem in read_or_refuse(lambda: read_problems(path), path) or []:
        assert all(image.file.resolve().is_relative_to(folder) for image in problem.images)


@cases(2)
@given(st.data())
def test_parquet_files(layout: Layout, folder: Path, data: st.DataObject) -> None:
    path = folder / "damaged.parquet"
    path.write_bytes(data.draw(damaged_bytes(layout.problems.read_bytes())))
    read_or_refuse(lambda: read_problems(path), path)
