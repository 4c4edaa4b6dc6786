"""GuidedGRPOTrainer as its tests make it: a reward of theirs, a trainer of the tiny policy, and what TRL itself drew."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from trl import GRPOConfig, GRPOTrainer

from npo_pipeline.grpo.mixing import form_group
from npo_pipeline.guidance.schedule import Window
from npo_pipeline.guidance.shards.load import load_guides
from npo_pipeline.integrations.trl import GuidedGRPOTrainer
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Group, Problem, Trajectory
from npo_pipeline.storage.layout import Layout

MOST, SIZE = 6, 4  # tokens of a response, responses of a group
EARLY = Window(0, 10, 4, 0.25, False)


class Judge:
    """The reward function; `right` are the responses of guides, whose sum of ids need not be a multiple."""

    __name__ = "judge"

    def __init__(self, right: set[tuple[int, ...]] | None = None) -> None:
        self.right = right or set()

    def __call__(self, completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        return [float(tuple(ids) in self.right or sum(ids) % 3 == 0) for ids in completion_ids]


def of_guides(layout: Layout) -> Judge:
    supply, _ = load_guides(layout, {4, 8}, MOST)
    return Judge({guide.trajectory.response_token_ids for guide in supply.values()})


def trainer_of(
    policy: Policy, problems: Sequence[Problem], guides: Path, out: Path, reward: Any, schedule: Any = (EARLY,), **changes: Any
) -> GuidedGRPOTrainer:
    values = {
        "output_dir": str(out),
        "num_generations": SIZE,
        "per_device_train_batch_size": SIZE * len(problems),
        "max_completion_length": MOST,
        "loss_type": "grpo",
        "epsilon": 0.2,
        "epsilon_high": 0.28,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "max_steps": 20,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "shuffle_dataset": False,
    }
    model = copy.deepcopy(policy.model)
    rows = datasets.Dataset.from_dict({"prompt": [problem.prompt for problem in problems]})
    arguments = GRPOConfig(**values | changes)
    return GuidedGRPOTrainer(model, reward, arguments, rows, processing_class=policy.tokenizer, guides=guides, schedule=schedule)


def sampled_groups(trainer: GuidedGRPOTrainer, problems: Sequence[Problem], reward: Any, monkeypatch) -> tuple[dict[str, Any], list[Group]]:
    """TRL's batch, and the same samples, before any guide was in, as groups of ours."""
    kept: list[list[int]] = []
    plain = GRPOTrainer._generate

    def keeping(self: GRPOTrainer, prompts: list[Any]) -> Any:
        found = plain(self, prompts)
        kept.extend(list(ids) for ids in found[1])
        return found

    monkeypatch.setattr(GRPOTrainer, "_generate", keeping)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._generate_and_score_completions([{"prompt": problem.prompt} for problem in problems for _ in range(SIZE)])
    rewards = reward(completion_ids=kept)
    groups = []
    for g, problem in enumerate(problems):
        own = [
            Trajectory(problem.problem_id, i, problem.prompt_token_ids, tuple(ids), (0.0,) * len(ids), value, value == 1.0, "stop", "")
            for i, (ids, value) in enumerate(zip(kept[g * SIZE : (g + 1) * SIZE], rewards[g * SIZE : (g + 1) * SIZE], strict=True))
        ]
        groups.append(form_group(problem, own))
    return batch, groups


def responses(batch: dict[str, Any]) -> list[tuple[int, ...]]:
    pairs = zip(batch["completion_ids"].tolist(), batch["completion_mask"].tolist(), strict=True)
    return [tuple(token for token, kept in zip(ids, mask, strict=True) if kept) for ids, mask in pairs]
