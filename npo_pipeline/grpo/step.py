"""One step of a run: sample groups, mix guides in, compute advantages, update, and say what happened.

Over many ranks each samples whole groups, then all know all groups: what is decided from them is the same everywhere.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from npo_pipeline.configuration.settings import GrpoConfig
from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.grpo.advantages import group_advantages
from npo_pipeline.grpo.dynamic import Filled, fill
from npo_pipeline.grpo.metrics import step_metrics
from npo_pipeline.grpo.mixer import Mixer
from npo_pipeline.grpo.mixing import form_group
from npo_pipeline.grpo.update import Updater, UpdateResult
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Group, Problem
from npo_pipeline.rollout.engine import Engine
from npo_pipeline.rollout.order import further_problems, problem_batch
from npo_pipeline.rollout.sample import sample
from npo_pipeline.storage.parquet import rollout_row
from npo_pipeline.tasks.judging.verify import Verifier


@dataclass
class Trainer:
    """Everything that a step needs; the policy's weights are the only part that changes."""

    policy: Policy
    engine: Engine
    verifier: Verifier
    updater: Updater
    problems: Sequence[Problem]  # the training problems
    settings: GrpoConfig
    seed: int
    mixer: Mixer
    ranks: Ranks = field(default_factory=Ranks)
    first: int = 0  # the step that the run begins with


@dataclass
class StepOutcome:
    rows: list[dict[str, Any]]  # of the roll-out file
    metrics: dict[str, Any]
    timings: dict[str, float]
    decisions: list[dict[str, Any]]  # of interventions.jsonl
    skipped: str  # why the weights are as they were; "" where they were updated


def run_step(trainer: Trainer, step: int, policy_sha256: str, before_update: Callable[[], None] | None = None) -> StepOutcome:
    """Sample, mix, update. `policy_sha256` names the policy that the trajectories were sampled from.

    `before_update` is called when all of that is done which only reads the weights.
    """
    began, cpu = time.perf_counter(), time.process_time()
    batch = trainer.mixer.batch(step, problem_batch(trainer.problems, trainer.seed, step, trainer.settings.prompts_per_step))
    groups = _sample_groups(trainer, batch, step, trainer.settings.group_size - trainer.mixer.held_back)
    mixed = trainer.mixer.mix(step, groups)
    filled = _fill(trainer, mixed.groups, batch, step)
    mixed = replace(mixed, groups=filled.kept)
    trainer.engine.rest()
    sampled, cpu_sampled = time.perf_counter(), time.process_time()
    advantages = _advantages(mixed.groups, trainer.settings)
    slots = [slot for group in mixed.groups for slot in group.slots]
    if before_update:
        before_update()
    result = trainer.updater.update(slots, advantages, trainer.seed, step)
    metrics = step_metrics(groups, mixed, result, filled if trainer.settings.dynamic_sampling else None) | {
        "learning_rate": trainer.updater.optimizer.learning_rate(step)
    }
    updated, cpu_updated = time.perf_counter(), time.process_time()
    decisions = trainer.mixer.observe(step, [*filled.kept, *filled.replaced], metrics)
    seconds = time.perf_counter() - began
    timings = {"seconds": seconds, "seconds/sample": sampled - began, "seconds/update": updated - sampled}
    timings |= {"cpu_seconds/sample": cpu_sampled - cpu, "cpu_seconds/update": cpu_updated - cpu_sampled}
    timings["tokens_per_second"] = metrics["completions/tokens"] / seconds
    skipped = result.skipped[-1] if result.skipped and not result.losses else ""
    return StepOutcome(_rows(filled, advantages, result, step, policy_sha256), metrics, timings, decisions, skipped)


def _fill(trainer: Trainer, groups: Sequence[Group], batch: Sequence[Problem], step: int) -> Filled:
    """The groups to train on: those, or with dynamic sampling others in the place of groups that teach nothing."""
    rounds = trainer.settings.dynamic_sampling
    if rounds is None:
        return Filled(groups)
    queue = further_problems(trainer.problems, batch, trainer.seed, step, lambda problem: problem.problem_id)
    return fill(groups, queue, rounds, lambda further: _sample_groups(trainer, further, step, trainer.settings.group_size))


def _sample_groups(trainer: Trainer, batch: Sequence[Problem], step: int, size: int) -> list[Group]:
    return trainer.ranks.spread(lambda own: _sample_own(trainer, own, step, size), batch)


def _sample_own(trainer: Trainer, batch: Sequence[Problem], step: int, size: int) -> list[Group]:
    draws = [(problem, slot) for problem in batch for slot in range(size)]
    trajectories = sample(trainer.engine, trainer.policy, trainer.verifier, draws, "rollout", trainer.seed, step)
    return [form_group(problem, trajectories[i * size : (i + 1) * size]) for i, problem in enumerate(batch)]


def _advantages(groups: Sequence[Group], settings: GrpoConfig) -> list[float]:
    """One per slot, in their order; groups may differ in size."""
    rewards = [torch.tensor([[slot.trajectory.reward for slot in group.slots]]) for group in groups]
    return [float(a) for rewards_1G in rewards for a in group_advantages(rewards_1G, settings.advantage, settings.advantage_eps)[0]]


def _rows(filled: Filled, advantages: Sequence[float], result: UpdateResult, step: int, policy_sha256: str) -> list[dict[str, Any]]:
    """Of the batch, then of the groups that made room: no advantage, and no log-probs of a trainer that never saw them."""
    rows: list[dict[str, Any]] = []
    for group in (*filled.kept, *filled.replaced):
        for index, slot in enumerate(group.slots):
            row = len(rows)
            facts = {
                "step": step,
                "slot": index,
                "advantage": advantages[row] if row < len(advantages) else 0.0,
                "group_accuracy": group.accuracy,
                "trainer_logprobs": result.measured.logprobs[row] if row < len(advantages) else None,
            }
            sampler = policy_sha256 if slot.source == "on_policy" else None
            rows.append(rollout_row(slot, facts, group.problem.prompt, sampler))
    return rows
