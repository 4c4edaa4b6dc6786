"""Every benchmark runs at its smallest size and writes its JSON. What they measure is read by people; nothing here asserts a time."""

import importlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import SAMPLING, tiny_policy

from npo_pipeline.rollout.engine import Request
from npo_pipeline.rollout.hf import TransformersEngine

HERE = Path(__file__).resolve().parents[1] / "benchmarks"
NAMES = sorted(file.stem for file in HERE.glob("bench_*.py"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all of them: what one has prepared, another finds."""
    return tmp_path_factory.mktemp("benchmarks")


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_writes_its_figures(name: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    importlib.import_module(name).main(["--out", str(out), "--smallest"])
    assert json.loads((out / f"{name.removeprefix('bench_')}.json").read_text(encoding="utf-8"))
    assert "| --- |" in capsys.readouterr().out


def test_a_case_on_a_gpu_that_fails_or_finds_no_time_is_a_line_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each is a process of its own, so that the others go on."""
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    bench = importlib.import_module("bench_gpu")
    case = bench.GpuCase("wrong", "nobody", str(tmp_path), "cpu")
    found = bench.run(case, time.monotonic() + 60)
    assert found["error"] == f"KeyError: 'nobody' ({tmp_path / 'log.txt'})"
    assert bench.row(found, case)[:2] == ["wrong", found["error"]]
    assert len(bench.row(found, case)) == len(bench.COLUMNS)
    assert bench.run(case, time.monotonic() - 1) == bench.run(case, time.monotonic() + 0.01) == {"error": "no time left"}


def test_lengths_follow_their_law_in_the_engine(monkeypatch: pytest.MonkeyPatch):
    """What both trainers are compared on: an engine's responses have the lengths that were asked for, and end with the stop token."""
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    lengths = importlib.import_module("lengths")
    policy, limit = tiny_policy(), 8
    engine = TransformersEngine(policy, replace(SAMPLING, max_new_tokens=limit), 2000)
    engine._warpers.append(lengths.LengthLaw(lengths.ragged(limit, 3, 0.25), policy.stop_ids, 0))
    found = engine.generate([Request((5, 6, 7), seed) for seed in range(2000)])
    shares = [sum(len(completion.token_ids) == length for completion in found) / 2000 for length in range(1, limit + 1)]
    assert shares == pytest.approx([0.25, 0.25, 0.25, 0, 0, 0, 0, 0.25], abs=0.04)  # four standard deviations
    assert all((len(c.token_ids) == limit) == (c.finish_reason == "length") for c in found)


def test_rows_that_stay_in_the_batch_get_the_same_lengths(monkeypatch: pytest.MonkeyPatch):
    """As transformers' `generate` keeps them: two ways of a benchmark are given equal work, batch by batch."""
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    lengths = importlib.import_module("lengths")

    def deal(leave: bool) -> list[list[int]]:
        law, dealt = lengths.LengthLaw(lengths.ragged(8, 3, 0.25), [0], 5), []
        for _ in range(3):
            rows, found = torch.arange(20), torch.full((20,), 8)
            for t in range(8):
                ends = rows[law(torch.zeros(len(rows), t), torch.zeros(len(rows), 4)).argmax(dim=1) == 0]
                found[ends] = found[ends].clamp(max=t + 1)
                rows = rows[~torch.isin(rows, ends)] if leave else rows
            dealt.append(sorted(found.tolist()))
        return dealt

    assert deal(leave=True) == deal(leave=False)
    assert len({tuple(batch) for batch in deal(leave=True)}) == 3
