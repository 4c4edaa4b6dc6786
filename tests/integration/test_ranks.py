"""The workflow with its training stages over two processes: the same artifacts, the same run up to rounding, stopped and resumed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load_file
from vllm_here import needs_vllm
from workflow_runner import Workflow

pytestmark = pytest.mark.slow

STOPPED, PEER_LOST = 75, 71


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """In place of the one-process template of conftest: every stage, from nothing."""
    workflow = Workflow(tmp_path_factory.mktemp("two processes"))
    workflow.run(overrides="trainer.nproc=2")
    return workflow


def command(workflow: Workflow, stage: str, config: str, *options: str) -> list[str]:
    return [sys.executable, "-m", f"npo_pipeline.stages.{stage}", "--config", str(workflow.results / f"config/{config}.yaml"), *options]


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """As a session of its own, after what a finished run left in `folder` is gone."""
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "rollouts")
    shutil.rmtree(folder / "checkpoints")
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


def ranks_of(launcher: int) -> list[int]:
    """The processes that it started, in the order of their numbers."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == launcher:
            found.append(int(stat.parent.name))
    return sorted(found)


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def measured(row: dict[str, Any]) -> dict[str, Any]:
    """Without what that step had nothing to measure of: `approx` takes no None."""
    return {name: value for name, value in row.items() if value is not None}


def test_one_process_makes_the_same_run_up_to_rounding(finished: Workflow) -> None:
    """The same files and samples; losses and norms within 1e-4, weights within a hundredth of what four steps of 2e-4 may change."""
    two, one = finished.results / "seed-0/probe", finished.results / "seed-0/one"
    shutil.copytree(two, one)
    shutil.rmtree(two)
    subprocess.run(command(finished, "probe", "probe"), check=True, timeout=300)
    assert sorted(p.relative_to(two) for p in two.rglob("*")) == sorted(p.relative_to(one) for p in one.rglob("*"))
    for mine, theirs in zip(metrics(two), metrics(one), strict=True):
        assert mine.pop("guide/problem_ids") == theirs.pop("guide/problem_ids")
        assert measured(mine) == pytest.approx(measured(theirs), rel=1e-4, abs=1e-5)  # log-prob gaps are rounding themselves
    for file in two.glob("rollouts/*.parquet"):
        columns = ["problem_id", "response_token_ids", "reward", "source"]
        assert pq.read_table(file, columns=columns) == pq.read_table(one / "rollouts" / file.name, columns=columns)
    last = "checkpoints/step-000004/model.safetensors"
    weights = load_file(one / last)
    assert all(abs(weights[name] - tensor).max() < 8e-6 for name, tensor in load_file(two / last).items())


def test_the_number_of_processes_makes_nothing_run_again(finished: Workflow) -> None:
    assert finished.planned(overrides="trainer.nproc=1 trainer.recompute_activations=true") == set()


def test_two_nodes_of_a_job_are_as_two_processes_of_one(finished: Workflow) -> None:
    """Each node's launcher with what srun tells it; both nodes are this machine."""
    before = finished.digests("seed-0/probe")
    shutil.rmtree(finished.results / "seed-0/probe")
    job = os.environ | {"NPO_ON_NODE": "1", "SLURM_JOB_ID": str(os.getpid()), "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1"}
    words = command(finished, "probe", "probe", "--nodes", "2")
    launchers = [subprocess.Popen(words, env=job | {"SLURM_NODEID": node}) for node in "01"]
    assert [launcher.wait(timeout=300) for launcher in launchers] == [0, 0]
    assert finished.digests("seed-0/probe") == before


@needs_vllm
def test_every_rank_samples_with_a_vllm_of_its_own(finished: Workflow) -> None:
    file, folder = finished.results / "config/probe.yaml", finished.results / "seed-0/probe"
    config = yaml.safe_load(file.read_text())
    vllm = {"max_model_len": 256, "gpu_memory_utilization": 0.4, "cpu_cache_gib": 0.25, "tensor_parallel_size": 1, "enforce_eager": True}
    file.write_text(yaml.safe_dump(config | {"engine": config["engine"] | {"name": "vllm", "check_every": 1, "vllm": vllm}}))
    done = subprocess.run(command(finished, "probe", "probe", "--nproc", "2"), stderr=subprocess.PIPE, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    steps = metrics(folder)
    assert len(steps) == 4
    assert all(step["logprob_gap/max"] < 1e-4 for step in steps)


def test_a_killed_rank_ends_the_run_and_a_rerun_resumes_to_the_same_bytes(finished: Workflow) -> None:
    folder, before = finished.results / "seed-0/probe", finished.digests("seed-0/probe")
    words = command(finished, "probe", "probe", "--nproc", "2", "--save-every", "1", "--rank-timeout", "60")
    process = start(words, folder)
    wait_until((folder / "state/step-000002").exists, process)
    os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == PEER_LOST, said
    assert re.search(r"stopped: rank \d of 2 was killed by SIGKILL", said), said
    assert "Traceback" not in said
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert re.search(r"probe: resuming from step [23]\n", done.stdout)
    assert finished.digests("seed-0/probe") == before


def test_a_signal_to_one_rank_stops_all_at_the_same_step(finished: Workflow) -> None:
    folder, before = finished.results / "seed-0/npo", finished.digests("seed-0/npo")
    words = command(finished, "guided", "guided-npo", "--nproc", "2")
    process = start(words, folder)
    wait_until((folder / "rollouts/step-000000.parquet").exists, process)
    os.kill(ranks_of(process.pid)[1], signal.SIGUSR1)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == STOPPED, said
    (stopped,) = re.findall(r"stopped: npo: by SIGUSR1 before step (\d); the same command resumes there\n", said)
    assert [state.name for state in (folder / "state").iterdir()] == [f"step-00000{stopped}"]
    assert sorted(file.name for file in (folder / f"state/step-00000{stopped}").iterdir()) == [
        "shard-00001-model-00001-of-00001.safetensors",
        "shard-00002-model-00001-of-00001.safetensors",
        "state.json",
    ]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert f"npo: resuming from step {stopped}\n" in done.stdout
    assert finished.digests("seed-0/npo") == before
