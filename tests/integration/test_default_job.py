"""The main job of the README, as a new user runs it: the embedded default learns, and its frontier is real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM
from workflow_runner import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]  # minutes on an idle machine


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("default")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--directory", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder / "results/default"


def evaluation(results: Path, policy: str) -> dict:
    return json.loads((results / f"seed-0/evaluation/{policy}.json").read_text())


def test_more_than_half_of_the_first_groups_are_all_wrong_and_the_easy_end_is_solved(results: Path) -> None:
    metrics = [json.loads(line) for line in (results / "seed-0/probe/metrics.jsonl").read_text().splitlines()]
    assert sum(row["groups/all_wrong"] for row in metrics[:5]) / 5 > 0.5
    initial = evaluation(results, "initial")
    assert initial["difficulty"]["7"]["mean@8"]["value"] > 0.5
    assert initial["difficulty"]["18"]["mean@8"]["value"] < 0.05


def test_grpo_learns_beyond_the_interval(results: Path) -> None:
    before, after = (evaluation(results, policy)["overall"]["mean@8"] for policy in ("initial", "probe"))
    assert after["value"] - before["value"] >= 0.15
    assert after["low"] > before["high"]


def test_guided_runs_injected_guides_and_the_report_is_there(results: Path) -> None:
    for method in ("npo_within", "npo", "autonpo"):
        metrics = [json.loads(line) for line in (results / f"seed-0/{method}/metrics.jsonl").read_text().splitlines()]
        assert sum(row["guide/injected"] for row in metrics) > 0
    assert (results / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize("run", ["probe", "npo_within", "npo", "autonpo"])
def test_every_run_ends_with_its_averaged_policy_too(results: Path, run: str) -> None:
    """Over the same steps in all runs; it is another policy, and not a worse one than the first."""
    folder = results / f"seed-0/{run}/policy-averaged"
    assert json.loads((folder / "manifest.json").read_text())["average_of"] == [150, 160, 170, 180, 190, 200]
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    last, averaged, initial = (evaluation(results, policy) for policy in (run, f"{run}-averaged", "initial"))
    assert averaged["policy_sha256"] != last["policy_sha256"]
    assert averaged["overall"]["mean@8"]["low"] > initial["overall"]["mean@8"]["high"]
