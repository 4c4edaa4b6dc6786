"""The adopted checkpoints sampled on exactly the prompts that a guided run will see: at each step, the checkpoint that acts there."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from npo_pipeline.configuration.stages import AdoptStage, SampledPrompts
from npo_pipeline.context import Context
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.device import pick_device
from npo_pipeline.progress import Progress
from npo_pipeline.records import Problem, Slot, Trajectory
from npo_pipeline.rollout.engines import check_prompts, make_engine
from npo_pipeline.rollout.order import problem_batch
from npo_pipeline.rollout.sample import sample
from npo_pipeline.storage.layout import rollouts
from npo_pipeline.storage.manifest import sha256_text
from npo_pipeline.storage.parquet import read_problems, rollout_row
from npo_pipeline.tasks.judging.verify import Verifier

SAMPLED_BY = "sampled_by"  # in a roll-out file's metadata: what its rows hang on

Write = Callable[[int, list[dict[str, Any]], dict[str, Any]], None]  # step, rows, facts of the file


def said_cost(prompts: SampledPrompts, steps: int, longest: int) -> str:
    responses = (steps - prompts.start) * prompts.prompts_per_step * prompts.group_size
    return (
        f"adopt: no completions of that run are named (probe.completions), so its checkpoints are sampled on the prompts of the steps "
        f"{prompts.start} to {steps - 1}: {responses:,} responses of at most {longest} tokens, {responses * longest:,} tokens at most"
    )


def sample_steps(context: Context[AdoptStage], prompts: SampledPrompts, write: Write) -> None:
    """A roll-out file per step; those that an interrupted stage has sampled from these very policies are kept."""
    config, layout = context.config, context.layout
    print(said_cost(prompts, config.steps, config.sampling.max_new_tokens), file=sys.stderr, flush=True)
    problems = read_problems(layout.problems, "train")
    walk = Walk(layout.probe, acting_at(prompts.start, walk_steps(context)), pick_device(context.options.device))
    check_prompts(config.engine, config.sampling, walk.policy, problems)
    with Verifier(config.verifier, context.options.workers) as verifier:
        engine = make_engine(config.engine, config.sampling, walk.policy)
        progress = Progress("adopt: sampling", config.steps, prompts.start)
        for step in progress:
            walk.to(acting_at(step, walk.records))
            facts = {SAMPLED_BY: _sampled_by(context, prompts, walk.records[walk.step].weights_sha256)}
            if _is_there(context, step, facts):
                continue
            batch = problem_batch(problems, layout.seed, step, prompts.prompts_per_step)
            draws = [(problem, slot) for problem in batch for slot in range(prompts.group_size)]
            found = sample(engine, walk.policy, verifier, draws, "rollout", layout.seed, step)
            write(step, list(_rows(batch, found, prompts.group_size, step, walk.records[walk.step].weights_sha256)), facts)


def walk_steps(context: Context[AdoptStage]) -> list[int]:
    return sorted({0, *context.config.adopted})


def acting_at(step: int, kept: Mapping[int, Any] | list[int]) -> int:
    """The last checkpoint at `step` or before it."""
    return max(known for known in kept if known <= step)


def _sampled_by(context: Context[AdoptStage], prompts: SampledPrompts, policy_sha256: str) -> str:
    config = context.config
    shape = (prompts.prompts_per_step, prompts.group_size)
    return sha256_text(f"{config.sampling} {config.engine.name} {config.verifier} {shape} {context.layout.seed} {policy_sha256}")


def _is_there(context: Context[AdoptStage], step: int, facts: Mapping[str, str]) -> bool:
    try:
        metadata = pq.read_schema(rollouts(context.layout.probe, step)).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return bool(metadata.get(f"npo.{SAMPLED_BY}".encode()) == facts[SAMPLED_BY].encode())


def _rows(batch: list[Problem], found: list[Trajectory], size: int, step: int, policy_sha256: str) -> Iterator[dict[str, Any]]:
    for i, problem in enumerate(batch):
        group = found[i * size : (i + 1) * size]
        accuracy = sum(trajectory.verified for trajectory in group) / size
        for slot, trajectory in enumerate(group):
            facts = {"step": step, "slot": slot, "advantage": None, "group_accuracy": accuracy, "trainer_logprobs": None}
            yield rollout_row(Slot(trajectory), facts, problem.prompt, policy_sha256)
