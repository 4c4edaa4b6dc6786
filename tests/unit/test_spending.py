"""What stages used: lines of processes that really ran, attempts that add up, records that are missing, and where they are shown."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from comparison_results import comparison_of, write_comparison
from report_results import Shape, stage_of

from npo_pipeline.analysis.comparison.load import load_comparison
from npo_pipeline.analysis.comparison.page import training_rows
from npo_pipeline.analysis.comparison.summary import summarise_comparison
from npo_pipeline.analysis.comparison.table import csv_table, seeds_table
from npo_pipeline.analysis.costs import Spend, guide_hours, seed_costs
from npo_pipeline.analysis.load import load_results
from npo_pipeline.analysis.report.build import build_report
from npo_pipeline.analysis.spending import spending, spending_rows
from npo_pipeline.errors import ArtifactError, Interrupted
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.spent import Attempt, place, read_hours, recorded

ON_GPU = Attempt("a", True, 3600.0, 1800.0, 2, "a GPU", 1)
ON_CPU = Attempt("a", True, 1800.0, 900.0, 0, "cpu", 1)
SHAPE = Shape(seeds=(0, 1), methods=("npo", "luffy"), steps=24)


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """A process whose attempt is interrupted takes no notice of a second request; this one goes on."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def write(folder: Path, *attempts: Attempt, rank: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"rank-{rank}.jsonl").write_text("".join(json.dumps(asdict(attempt)) + "\n" for attempt in attempts))


def record(layout: Layout, attempts: dict[str, Attempt]) -> None:
    for name, attempt in attempts.items():
        write(place(layout.root, layout.seed, name), attempt)


def test_a_process_and_its_children_are_measured(tmp_path: Path) -> None:
    """A third of a second of CPU here, as much in a child, and a wait that takes none."""
    burn = "import time\nwhile time.process_time() < .35: pass"
    code = (
        "import subprocess, sys, time\nfrom pathlib import Path\nfrom npo_pipeline.storage.spent import recorded\n"
        f"with recorded(Path({str(tmp_path / 'probe')!r}), 'sha', 1):\n"
        f"    began = time.process_time()\n    while time.process_time() < began + .35: pass\n"
        f"    subprocess.run([sys.executable, '-c', {burn!r}])\n    time.sleep(.3)\n"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    whole = time.perf_counter() - began
    found = read_hours(tmp_path / "probe")
    assert found is not None
    assert 0.7 <= found.cpu * 3600 <= whole
    assert 1.0 <= found.wall * 3600 <= whole
    assert (found.gpu, found.device) == (0.0, "cpu")


def test_attempts_that_were_asked_to_stop_add_up(tmp_path: Path) -> None:
    def attempt(digest: str, stops: bool) -> None:
        with recorded(tmp_path, digest, 1):
            if stops:
                raise Interrupted("at a step")

    with pytest.raises(Interrupted):
        attempt("one", stops=True)
    assert read_hours(tmp_path) is None  # it has not finished
    attempt("one", stops=False)
    assert len((tmp_path / "rank-0.jsonl").read_text().splitlines()) == 2
    assert read_hours(tmp_path) is not None
    attempt("one", stops=False)  # made again from nothing
    assert len((tmp_path / "rank-0.jsonl").read_text().splitlines()) == 1
    with pytest.raises(Interrupted):
        attempt("one", stops=True)
    assert read_hours(tmp_path) is None  # it is being made again
    attempt("two", stops=False)  # what was begun under another configuration is not part of it
    assert len((tmp_path / "rank-0.jsonl").read_text().splitlines()) == 1


def test_a_wrong_input_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, ON_CPU)
    with pytest.raises(ArtifactError), recorded(tmp_path, "a", 1):
        raise ArtifactError("damaged")
    assert [json.loads(line) for line in (tmp_path / "rank-0.jsonl").read_text().splitlines()] == [asdict(ON_CPU)]


def test_ranks_add_up_and_those_of_an_earlier_run_do_not(tmp_path: Path) -> None:
    several = replace(ON_GPU, gpus=1, ranks=2)
    write(tmp_path, replace(several, finished=False), several)
    assert read_hours(tmp_path) is None  # rank 1 is not on record
    write(tmp_path, several, rank=1)
    write(tmp_path, replace(several, seconds=1e6), rank=2)  # of a run over more processes
    found = read_hours(tmp_path)
    assert found is not None
    assert (found.wall, found.gpu, found.cpu, found.device) == (2.0, 3.0, 1.5, "a GPU")
    write(tmp_path, replace(several, config_sha256="b"), rank=1)
    assert read_hours(tmp_path) is None


@pytest.mark.parametrize("damage", ["", "{", "[]\n", '{"seconds": 1}\n', json.dumps(asdict(ON_CPU) | {"seconds": None}) + "\n"])
def test_a_damaged_record_is_none(tmp_path: Path, damage: str) -> None:
    write(tmp_path, ON_CPU)
    (tmp_path / "rank-0.jsonl").write_text(damage)
    assert read_hours(tmp_path) is None
    with recorded(tmp_path, "a", 1):  # and is replaced
        pass
    assert read_hours(tmp_path) is not None


def test_gpus_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is here: what torch says of one. An engine that is spread over several holds all of them."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    for gpus in (1, 4):
        with recorded(tmp_path, "sha", gpus):
            time.sleep(0.01)
        found = read_hours(tmp_path)
        assert found is not None
        assert found.gpu == pytest.approx(gpus * found.wall)
        assert found.device == "a GPU"


def test_guides_are_all_jobs_and_the_gathering(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert guide_hours(layout) is None
    record(layout, {"guide-0-of-2": ON_GPU, "guide-1-of-2": replace(ON_GPU, seconds=7200.0)})
    assert guide_hours(layout) is None
    record(layout, {"guide-gather": ON_CPU})
    found = guide_hours(layout)
    assert found is not None
    assert (found.wall, found.gpu, found.cpu, found.device) == (3.5, 6.0, 1.25, "a GPU")
    later = replace(layout, round="round-2")
    record(later, {"round-2/guide": ON_CPU})
    found = guide_hours(later)
    assert found is not None
    assert found.wall == 0.5


def test_a_method_costs_what_it_needs(tmp_path: Path) -> None:
    layout = write_comparison(tmp_path, SHAPE)
    record(layout, {"probe": ON_GPU, "guide": ON_CPU, "guided-npo": ON_GPU, "guided-luffy": ON_CPU, "demonstrate-luffy": ON_CPU})
    results = load_results(stage_of(SHAPE), layout)
    configs = {"npo": {}, "luffy": {"kind": "demonstrations", "demonstrations": {"policy": "teacher"}}}
    costs = seed_costs(layout, results.seeds[0].runs, configs)
    assert (costs["probe"].total.gpu_hours, costs["probe"].total.cpu_hours) == (2.0, 0.5)
    assert (costs["npo"].own.gpu_hours, costs["npo"].total.gpu_hours, costs["npo"].total.cpu_hours) == (2.0, 4.0, 1.25)
    assert (costs["luffy"].total.gpu_hours, costs["luffy"].total.cpu_hours) == (0.0, 0.5)
    other = seed_costs(replace(layout, seed=1), results.seeds[1].runs, configs)  # nothing on record
    assert (other["npo"].total.gpu_hours, other["npo"].total.cpu_hours) == (None, None)
    assert Spend(1, 2.0) + Spend(1, 2.0, 3.0, 4.0) == Spend(2, 4.0)


def test_the_table_has_hours_of_gpus_or_of_cpus(tmp_path: Path) -> None:
    layout = write_comparison(tmp_path, SHAPE)
    used = {"probe": ON_CPU, "guide": ON_CPU, "guided-npo": ON_CPU, "guided-luffy": ON_CPU, "demonstrate-luffy": ON_CPU}
    for seed in (0, 1):
        record(replace(layout, seed=seed), used)

    def table() -> tuple[list[str], dict[str, list[str]]]:
        header, rows = training_rows(summarise_comparison(load_comparison(comparison_of(SHAPE), layout)))
        return header[-2:], {row[0]: row[-2:] for row in rows}

    assert table() == (["own CPU-hours", "all CPU-hours"], {"GRPO": ["0.25", "0.25"], "npo": ["0.25", "0.75"], "luffy": ["0.25", "0.5"]})
    for seed in (0, 1):
        record(replace(layout, seed=seed), used | {"guided-npo": ON_GPU})
    assert table() == (["own GPU-hours", "all GPU-hours"], {"GRPO": ["0", "0"], "npo": ["2", "2"], "luffy": ["0", "0"]})
    comparison = load_comparison(comparison_of(SHAPE), layout)
    rows = summarise_comparison(comparison)
    npo = next(row for row in csv.DictReader(io.StringIO(csv_table(comparison, rows))) if row["method"] == "npo")
    names = ("own GPU-hours", "all GPU-hours", "own CPU-hours", "all CPU-hours")
    assert [float(npo[name]) for name in names] == [2.0, 2.0, 0.5, 1.0]
    assert ",2.0,1.0" in next(line for line in seeds_table(comparison, rows).splitlines() if line.startswith("npo,0"))


def test_the_report_says_what_each_stage_used(tmp_path: Path) -> None:
    layout = write_comparison(tmp_path, SHAPE)
    build_report(stage_of(SHAPE), layout, "0" * 64)
    assert "What it cost" not in layout.report.read_text()  # results of earlier versions
    write(place(layout.root, None, "prepare"), ON_CPU)
    for seed in (0, 1):
        record(replace(layout, seed=seed), {"probe": ON_GPU, "guide": ON_CPU, "guided-npo": ON_GPU})
    found = spending_rows(spending(layout, load_results(stage_of(SHAPE), layout)))
    assert found is not None
    cells = {row[0]: row[2:] for row in found[1]}
    assert cells == {
        "prepare": ["30 min 00 s", "-", "0.25", "cpu"],
        "probe": ["2 h 00 min", "4", "1", "a GPU"],
        "guide": ["1 h 00 min", "-", "0.5", "cpu"],
        "npo": ["2 h 00 min", "4", "1", "a GPU"],
        "luffy: demonstrations": ["-", "-", "-", "-"],
        "luffy": ["-", "-", "-", "-"],
        "evaluate": ["-", "-", "-", "-"],
        "total of what is on record": ["5 h 30 min", "8", "2.75", "cpu, a GPU"],
    }
    guide = next(row for row in found[1] if row[0] == "guide")
    assert guide[1] == "20"  # two seeds of ten tokens
    build_report(stage_of(SHAPE), layout, "0" * 64)
    page = layout.report.read_text()
    assert "What it cost" in page
    assert "<td>2 h 00 min</td><td>4</td><td>1</td><td>a GPU</td>" in page
