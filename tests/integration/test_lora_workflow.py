"""The whole pipeline with LoRA: the probe keeps adapters, every later stage reads them, and a run's `policy/` is whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from workflow_runner import Workflow, kill_when

pytestmark = pytest.mark.slow
OVERRIDES = "policy.lora={rank:4,alpha:8} method=[npo,rlep] grpo.learning_rate=1e-2 grpo.kl_coef=0.01"


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("lora"))
    workflow.run(overrides=OVERRIDES)
    return workflow


def evaluated(workflow: Workflow, policy: str) -> dict:
    return json.loads((workflow.results / f"seed-0/evaluation/{policy}.json").read_text())


def test_checkpoints_are_adapters_and_every_stage_read_them(workflow: Workflow) -> None:
    folders = sorted((workflow.results / "seed-0/probe/checkpoints").iterdir())
    assert {tuple(sorted(file.name for file in folder.iterdir())) for folder in folders} == {
        ("adapter_config.json", "adapter_model.safetensors", "checkpoint.json")
    }
    digests = {evaluated(workflow, policy)["policy_sha256"] for policy in ("initial", "probe", "npo", "rlep")}
    assert len(digests) == 4


def test_the_final_policy_is_whole_and_merged(workflow: Workflow) -> None:
    from npo_pipeline.policy.logprobs import score
    from npo_pipeline.policy.policy import load_policy

    run = workflow.results / "seed-0/npo"
    merged, adapter = load_policy(run / "policy", "float32"), load_policy(run / "checkpoints/step-000004", "float32")
    rows = [((5, 9, 11), (7, 8, 40, 1)), ((5, 9), (30, 2))]
    whole, beside = (score(policy.model, rows, policy.pad_id, 1.0, 10_000) for policy in (merged, adapter))
    assert [pytest.approx(row, abs=1e-5) for row in whole] == beside


def test_a_killed_probe_resumes_to_the_same_bytes(workflow: Workflow) -> None:
    command = [
        sys.executable,
        "-m",
        "npo_pipeline.stages.probe",
        "--config",
        str(workflow.results / "config/probe.yaml"),
        "--save-every",
        "1",
    ]
    folder: Path = workflow.results / "seed-0/probe"
    before = workflow.digests("seed-0/probe")
    kill_when(command, (folder / "state/step-000003").exists, folder)
    assert not (folder / "manifest.json").exists(), "killed too late: the run had finished"
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "probe: resuming from step " in done.stdout
    assert workflow.digests("seed-0/probe") == before
