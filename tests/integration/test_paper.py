"""`experiment=paper` cannot run here: it composes, is checked, and its jobs and needs are told, without a network, a GPU or vLLM."""

import os
import subprocess
import sys
from pathlib import Path

from workflow_runner import PROJECT, stage_jobs

from npo_pipeline.configuration.compose import load_root, stage_configs

OFFLINE = os.environ | {"HF_HUB_OFFLINE": "1"}
PAPER = ("mmmu_pro", "mathvista", "mathvision", "zerobench", "wemath", "mmbench", "mmstar", "mathverse")


def snakemake(folder: Path, overrides: str = "") -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "--directory",
        str(folder),
        "--config",
        "experiment=paper",
        f"overrides={overrides}",
    ]
    return subprocess.run(command, cwd=PROJECT, env=OFFLINE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)


def test_the_recipe_is_the_papers() -> None:
    root = load_root("paper")
    assert (root.policy.path, root.task.image_column, root.grpo.group_size, root.grpo.prompts_per_step) == (
        "Qwen/Qwen3-VL-8B-Instruct",
        "image",
        8,
        256,
    )
    assert (root.grpo.learning_rate, root.sampling.max_new_tokens, root.sampling.temperature) == (1e-6, 4096, 1.0)
    assert (root.grpo.clip_low, root.grpo.clip_high, root.guidance.gate) == (0.2, 0.28, 0.6)
    assert all(method.gate == 0.6 and not method.correction for method in root.method.values())
    assert "benchmarks" not in stage_configs(root), "none is given"


def test_it_dry_runs_offline(tmp_path: Path) -> None:
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stdout
    runs = {"probe seed=0", *(f"guided seed=0 method={method}" for method in ("npo_early", "npo", "autonpo"))}
    assert runs <= stage_jobs(done.stdout)


def test_benchmarks_whose_data_is_given_are_evaluated(tmp_path: Path) -> None:
    (tmp_path / "mathvista.jsonl").write_text('{"question": "1 + 1", "answer": "2"}\n')
    done = snakemake(tmp_path, f"evaluate.benchmarks.mathvista.data={tmp_path}/mathvista.jsonl")
    assert done.returncode == 0, done.stdout
    assert "benchmarks" in stage_jobs(done.stdout)
    every = [f"evaluate.benchmarks.{name}.data=somebody/{name}" for name in PAPER]
    assert list(stage_configs(load_root("paper", every))["benchmarks"]["benchmarks"]) == list(PAPER)
    missing = snakemake(tmp_path, "evaluate.benchmarks.mathvista.data=missing.jsonl")
    assert "evaluate.benchmarks.mathvista.data=missing.jsonl: no such file or folder" in missing.stdout


def test_its_needs_are_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "npo_pipeline.planning", "--experiment", "paper", "--gpu-memory", "141"]
    whole, lora = (
        subprocess.run([*command, "--overrides", words], cwd=tmp_path, env=OFFLINE, capture_output=True, text=True, check=True).stdout
        for words in ("", "policy.lora={rank:32,alpha:64} sampling.max_new_tokens=2048 grpo.micro_batch_tokens=4096")
    )
    assert "8,767,123,696 parameters" in whole
    row = {text.split("  ")[0]: text.split()[-1] for text in (whole + lora.replace("probe, guided", "with LoRA")).splitlines() if text}
    assert int(row["probe, guided"]) > 1
    assert int(row["with LoRA"]) == 1, "half the tokens and adapters only: one H200"
