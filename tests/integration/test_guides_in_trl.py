"""The page on other trainers, as printed, on a finished run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from workflow_runner import PROJECT, Workflow

from npo_pipeline.storage.layout import Layout

pytestmark = pytest.mark.slow

PAGE = (PROJECT / "docs/other-trainers.md").read_text(encoding="utf-8")


def test_the_example_runs_as_printed(finished: Workflow) -> None:
    command = re.search(r"^npo (export-guides results/default.*)$", PAGE, re.MULTILINE)
    script = re.search(r"^```python\n(# guided\.py\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert command
    assert script
    called(finished.folder, "-m", "npo_pipeline", *command[1].split())
    (finished.folder / "guided.py").write_text(script[1])
    said = called(finished.folder, "guided.py")
    logged = [json.loads(line.replace("'", '"')) for line in re.findall(r"\{'loss'[^}]*guide/injected[^}]*\}", said)]
    assert len(logged) == 10
    assert sum(float(line["guide/injected"]) for line in logged[:4]) > 0  # the schedule's windows end at step 4
    assert sum(float(line["guide/injected"]) for line in logged[4:]) == 0
    assert all(float(line["guide/refused"]) == 0 for line in logged[:4])
    folders = (Layout(finished.results).initial_policy, finished.folder / "guided/policy")
    before, after = (load_file(folder / "model.safetensors") for folder in folders)
    assert any(not before[name].equal(after[name]) for name in before)


def test_a_group_over_two_processes_is_guided_as_one(tmp_path: Path) -> None:
    """Each process has six of twelve rows, so that the second of three groups of four is spread over both."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    called(tmp_path, *torchrun, str(PROJECT / "tests/trl_ranks.py"), str(tmp_path))
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    for batches in zip(*ranks, strict=True):
        rows = [row for batch in batches for row in batch]
        groups = [rows[i : i + 4] for i in range(0, 12, 4)]
        assert [[row["guide"] for row in group] for group in groups] == [[False, False, False, True]] * 3
        for group in groups:  # nothing that the policy says is right, so one of four is
            assert [row["advantage"] for row in group] == pytest.approx([-0.4999, -0.4999, -0.4999, 1.4997], abs=1e-4)


def called(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    return done.stdout
