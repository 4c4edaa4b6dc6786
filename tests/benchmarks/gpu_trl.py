"""The same step by TRL's GRPOTrainer, which samples with transformers or with a vLLM that sleeps during the update, as ours does."""

from pathlib import Path
from typing import Any

from gpu_case import WARM, ByContent, GpuCase, settings_of
from gpu_phases import Phases, peak_bytes
from gpu_policy import problems, random_policy, save
from steps import Case, Theirs

MOST_ROWS = 16  # of a micro-batch: TRL pads all of them to the longest


def run(case: GpuCase) -> dict[str, Any]:
    import torch

    phases = Phases(case.device)
    theirs = Theirs(as_case(case), Path(case.out) / "trl")
    phases.watch(theirs.trainer, "_generate", "sample")
    for step in range(case.steps):
        if step == WARM and case.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        phases.step(theirs.step)
    parameters = sum(parameter.numel() for parameter in theirs.trainer.model.parameters())
    return {"seconds": phases.means(WARM), "peak": peak_bytes(case.device), "parameters": parameters}


def as_case(case: GpuCase) -> Case:
    grpo, sampling, _ = settings_of(case)
    policy = random_policy(case.shape, case.dtype, case.device)
    known = problems(policy, 4 * case.prompts)
    folder = save(policy, Path(case.out) / "policy")
    del policy
    return Case(folder, case.dtype, known, ByContent(), grpo, sampling, None, case.rows, case.steps, arguments(case))


def arguments(case: GpuCase) -> dict[str, Any]:
    """What differs on a GPU; the rest is as in steps.py."""
    rows = min(MOST_ROWS, case.rows)
    found: dict[str, Any] = {
        "use_cpu": case.device == "cpu",
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": case.rows // rows,
    }
    if case.engine == "vllm":
        found |= {"use_vllm": True, "vllm_mode": "colocate", "vllm_enable_sleep_mode": case.device == "cuda"}
        found |= {"vllm_gpu_memory_utilization": 0.4, "vllm_max_model_length": 2048}
    return found
