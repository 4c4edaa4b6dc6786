"""A GRPO run of TRL's own trainer on prepared problems, with nothing of this project in its training: what there is to be adopted.

python tests/trl_run.py PREPARE OUT [--steps 4] [--save-every 2] [--lora] [--completions]
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}


def train(prepare: Path, out: Path, steps: int = 4, save_every: int = 2, lora: bool = False, completions: bool = False) -> None:
    """`prepare` holds problems.parquet and policy/; checkpoint-2/, checkpoint-4/ and so on are left in `out`."""
    import pyarrow.parquet as pq
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    rows = [row for row in pq.read_table(prepare / "problems.parquet").to_pylist() if row["split"] == "train"]
    data = Dataset.from_list([{"prompt": row["prompt"], "answer": row["answer"]} for row in rows])
    settings: dict[str, Any] = {
        "output_dir": str(out),
        "max_steps": steps,
        "save_steps": save_every,
        "per_device_train_batch_size": 32,
        "num_generations": 4,
        "max_completion_length": 12,
        "learning_rate": 1e-3,
        "beta": 0.0,
        "logging_steps": 1,
        "log_completions": completions,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "save_only_model": True,
        "seed": 0,
    }
    trainer = GRPOTrainer(
        model=str(prepare / "policy"),
        reward_funcs=reward,
        args=GRPOConfig(**settings),
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(prepare / "policy", padding_side="left"),
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if lora else None,
    )
    trainer.train()


def reward(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """Of a sorted list, word for word, which is what the prompt asks for."""
    return [float(completion.strip() == right.strip()) for completion, right in zip(completions, answer, strict=True)]


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("prepare", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--steps", type=int, default=4)
    options.add_argument("--save-every", type=int, default=2)
    options.add_argument("--lora", action="store_true")
    options.add_argument("--completions", action="store_true")
    train(**vars(options.parse_args()))
