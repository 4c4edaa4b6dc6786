"""The whole pipeline on a GPU at the smallest size: every stage, in bfloat16, with LoRA, on vLLM, with images, and after a kill."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from gpu_here import DEVICE, needs_gpu
from vllm_here import needs_vllm
from workflow_runner import Workflow, kill_when

from npo_pipeline.storage.manifest import verify
from npo_pipeline.storage.parquet import GUIDE_SHARD, read_rows
from npo_pipeline.storage.run_files import read_jsonl

pytestmark = [pytest.mark.slow, needs_gpu]

ON = (f"device={DEVICE}",)
KINDS = {
    "bfloat16": "policy.dtype=bfloat16 engine=transformers",
    "lora": "policy.lora={rank:4,alpha:8} grpo.learning_rate=1e-2 grpo.kl_coef=0.01 engine=transformers",
    "vllm": f"policy.dtype=bfloat16 engine={'auto' if DEVICE == 'cuda' else 'vllm'} engine.vllm.cpu_cache_gib=0.1",
}
IMAGES = (
    "name=default engine=transformers task.config={} policy.scratch.vocab_size=400 policy.scratch.head_dim=16 method=[npo]"
    " policy.vision.scratch.hidden_size=32 policy.vision.scratch.layers=1 policy.cold_start.batch_size=32 sampling.max_new_tokens=24"
)
GAP = {"bfloat16": 0.05, "lora": 0.01, "vllm": 0.05, "images": 0.01}  # mean of |trainer - engine| per token, in nats


def mean_gaps(workflow: Workflow) -> list[float]:
    return [row["logprob_gap/mean"] for run in ("probe", "npo") for row in read_jsonl(workflow.results / f"seed-0/{run}/metrics.jsonl")]


def check(workflow: Workflow, kind: str) -> None:
    """Every stage's files are whole, guides were found, and what sampled is what was trained."""
    seed = workflow.results / "seed-0"
    for folder in (workflow.results / "prepare", seed / "probe", seed / "guide", seed / "npo"):
        verify(folder)
    assert (workflow.results / "report.html").is_file()
    assert [row for file in seed.glob("guide/step-*/trajectories-*") for row in read_rows(file, GUIDE_SHARD)]
    gaps = mean_gaps(workflow)
    assert len(gaps) == 8
    assert max(gaps) < GAP[kind]


@pytest.mark.parametrize("kind", ["bfloat16", "lora", pytest.param("vllm", marks=needs_vllm)])
def test_every_stage_runs(kind: str, tmp_path: Path) -> None:
    workflow = Workflow(tmp_path)
    workflow.run(overrides=KINDS[kind], options=ON)
    check(workflow, kind)
    engine = yaml.safe_load((workflow.results / "config/probe.yaml").read_text())["engine"]
    assert engine["name"] == ("vllm" if kind == "vllm" else "transformers")
    assert kind != "vllm" or engine["vllm"]["enforce_eager"] == (DEVICE == "cpu")


def test_images_come_through_every_stage(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path)
    workflow.run(overrides=IMAGES, options=(*ON, "experiment=easy_vqa"))
    check(workflow, "images")


@pytest.mark.parametrize("kind", ["bfloat16", pytest.param("vllm", marks=needs_vllm)])
def test_a_killed_probe_goes_on(kind: str, tmp_path: Path) -> None:
    """To the same bytes on a CPU; on a GPU that is not promised, but every step is there and whole."""
    workflow = Workflow(tmp_path)
    workflow.run("--until", "probe", overrides=KINDS[kind], options=ON)
    folder, before = workflow.results / "seed-0/probe", workflow.digests("seed-0/probe")
    config = ["--config", str(workflow.results / "config/probe.yaml"), "--save-every", "1", "--device", DEVICE]
    command = [sys.executable, "-m", "npo_pipeline.stages.probe", *config]
    kill_when(command, (folder / "state/step-000001").exists, folder)
    assert not (folder / "manifest.json").exists(), "killed too late: the run had finished"
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    assert "probe: resuming from step " in done.stdout
    assert verify(folder)["steps"] == len(read_jsonl(folder / "metrics.jsonl")) == 4
    assert DEVICE == "cuda" or workflow.digests("seed-0/probe") == before
