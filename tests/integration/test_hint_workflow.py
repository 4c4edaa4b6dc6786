"""The comparator `hint` through the real stages: a tiny policy on rows with solutions, judged by a function that half of all texts pass."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer
from workflow_runner import PROJECT

from npo_pipeline.configuration.compose import load_root, stage_configs, to_yaml
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.logprobs import score
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.parquet import ROLLOUT, read_problems, read_rows

pytestmark = pytest.mark.slow

REWARD = "def score(text: str, reference: str, metadata: dict) -> float:\n    return float(len(text) % 2)\n"
SMALL = (
    "method=[hint] task=gsm8k task.train_size=16 task.eval_size=4 policy.scratch.hidden_size=32 policy.scratch.intermediate_size=64"
    " policy.scratch.layers=1 policy.scratch.vocab_size=300 policy.cold_start.steps=0 grpo.prompts_per_step=8 grpo.group_size=2"
    " sampling.max_new_tokens=4 probe.steps=2 probe.checkpoint_every=1 guidance.every=1 guided.checkpoint_every=1"
)


def run(folder: Path, stage: str, config: str) -> None:
    command = [sys.executable, "-m", f"npo_pipeline.stages.{stage}", "--config", str(folder / f"config/{config}.yaml")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hinted_successes_take_slots_and_are_trained_on_behind_their_hints(tmp_path: Path) -> None:
    reward = tmp_path / "reward.py"
    reward.write_text(REWARD)
    root = load_root(overrides=f"{SMALL} task.verifier.kind=python task.verifier.function={reward}:score")
    (tmp_path / "config").mkdir()
    for name, values in stage_configs(root).items():
        (tmp_path / f"config/{name}.yaml").write_text(to_yaml(values))
    run(tmp_path, "prepare", "prepare")
    run(tmp_path, "guided", "guided-hint")
    layout = Layout(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(layout.initial_policy)
    problems = {problem.problem_id: problem for problem in read_problems(layout.problems)}
    rows = [row for step in (0, 1) for row in read_rows(layout.method("hint") / f"rollouts/step-{step:06d}.parquet", ROLLOUT)]
    guides = [row for row in rows if row["source"] == "guide"]
    assert guides, "a quarter of the groups is all wrong, and half of the tries pass"
    for row in guides:
        read = tokenizer.decode(row["prompt_token_ids"])
        assert read.startswith(problems[row["problem_id"]].question)
        assert "The solution begins like this:" in read
        assert row["verified"]
        assert row["group_accuracy"] == 0.0
    assert not any("The solution begins" in tokenizer.decode(row["prompt_token_ids"]) for row in rows if row["source"] == "on_policy")
    first = [row for row in guides if row["step"] == 0]
    policy = Walk(layout.method("hint"), 0).policy
    again = score(
        policy.model, [(row["prompt_token_ids"], row["response_token_ids"]) for row in guides if row["step"] == 0], policy.pad_id, 1.0, 999
    )
    for row, found in zip(first, again, strict=True):
        assert np.allclose(row["trainer_logprobs"], found, atol=1e-4), "of the prompt with its hint"
        assert np.allclose(row["guide_logprobs"], found, atol=1e-4)
    metrics = [json.loads(line) for line in (layout.method("hint") / "metrics.jsonl").read_text().splitlines()]
    assert sum(row["hint/solved"] for row in metrics) == len(guides)
    assert all(row["guide/tokens"] > 0 for row in metrics if row["hint/prompts"])
