"""The whole pipeline on engine=vllm, on a CPU; and what a killed run on vLLM leaves."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vllm_here import needs_vllm
from workflow_runner import Workflow, kill_when

from npo_pipeline.policy.checkpoints import open_policy
from npo_pipeline.policy.logprobs import score
from npo_pipeline.storage.layout import checkpoint
from npo_pipeline.storage.parquet import GUIDE_SHARD, ROLLOUT, read_rows

pytestmark = [pytest.mark.slow, needs_vllm]


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("vllm"))
    ran = workflow.run(overrides="engine=vllm")
    assert {"probe seed=0", "guided seed=0 method=npo", "evaluate seed=0 policy=npo", "report"} <= ran
    return workflow


def largest_gap(policy: Path, rows: list[dict]) -> float:
    """Between the log-probs in a file and those of the policy that is said to have sampled them."""
    loaded = open_policy(policy, "float32")
    pairs = [(row["prompt_token_ids"], row["response_token_ids"]) for row in rows]
    scored = score(loaded.model, pairs, loaded.pad_id, 1.0, 10_000)
    return max(np.abs(np.array(a) - np.array(row["guide_logprobs"])).max() for a, row in zip(scored, rows, strict=True))


def test_every_stage_sampled_from_the_weights_it_says(workflow: Workflow) -> None:
    """One engine is walked over all checkpoints of a stage, so a file of each shows which weights it held."""
    seed = workflow.results / "seed-0"
    for step in (0, 2, 4):
        policy = checkpoint(seed / "probe", step)
        if step < 4:
            assert largest_gap(policy, read_rows(seed / f"probe/rollouts/step-{step:06d}.parquet", ROLLOUT)) < 1e-4
        if step > 0:
            shard = seed / f"guide/step-{step:06d}/trajectories-00000-of-00001.parquet"
            assert largest_gap(policy, read_rows(shard, GUIDE_SHARD)) < 1e-4
    assert largest_gap(checkpoint(seed / "probe", 4), read_rows(seed / "evaluation/probe.parquet", GUIDE_SHARD)) < 1e-4


def test_a_killed_probe_resumes_to_the_same_bytes(workflow: Workflow, tmp_path: Path) -> None:
    shutil.copytree(workflow.folder, tmp_path / "copy")
    copy = Workflow(tmp_path / "copy")
    folder, before = copy.results / "seed-0/probe", copy.digests("seed-0/probe")
    config = str(copy.results / "config/probe.yaml")
    command = [sys.executable, "-m", "npo_pipeline.stages.probe", "--config", config, "--save-every", "1"]
    kill_when(command, (folder / "state/step-000001").exists)
    assert not (folder / "manifest.json").exists(), "killed too late: the run had finished"
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "probe: resuming from step " in done.stdout
    assert copy.digests("seed-0/probe") == before
