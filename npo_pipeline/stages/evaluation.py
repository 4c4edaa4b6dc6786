"""Sampling and scoring of one policy on the held-out problems."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from npo_pipeline.config import EvaluateStage
from npo_pipeline.policy.checkpoints import open_policy
from npo_pipeline.policy.policy import Policy, weights_sha256
from npo_pipeline.progress import Progress
from npo_pipeline.records import Problem, Trajectory
from npo_pipeline.report.statistics import summarise
from npo_pipeline.rollout.engines import make_engine
from npo_pipeline.rollout.sample import sample
from npo_pipeline.runtime import pick_device
from npo_pipeline.stages.cli import Context
from npo_pipeline.storage.parquet import GUIDE_SHARD, read_problems, trajectory_row, write_table
from npo_pipeline.tasks.verify import Verifier


def evaluate_policy(context: Context[EvaluateStage], name: str, folder: Path) -> dict[str, Any]:
    """Sample, write the trajectories, and return the contents of the evaluation file."""
    settings, layout = context.config.evaluate, context.layout
    problems = [problem for problem in read_problems(layout.problems) if problem.split == "eval"]
    policy = open_policy(folder, context.config.dtype, pick_device(context.options.device))
    trajectories = draw(context, name, policy, problems)
    digest = weights_sha256(policy)
    prompts = {problem.problem_id: problem.prompt for problem in problems}
    rows = [trajectory_row(trajectory, None, prompts[trajectory.problem_id], digest) for trajectory in trajectories]
    write_table(layout.evaluation_samples(name), rows, GUIDE_SHARD, context.config_sha256, {"temperature": settings.temperature})
    correct = Counter({problem.problem_id: 0 for problem in problems})
    correct.update(trajectory.problem_id for trajectory in trajectories if trajectory.verified)
    difficulty = {problem.problem_id: problem.difficulty for problem in problems}
    scores = summarise(correct, settings.samples, settings.ks, difficulty, settings.bootstrap, settings.confidence, settings.seed)
    identity = {"schema": 1, "policy": name, "seed": layout.seed, "policy_sha256": digest, "config_sha256": context.config_sha256}
    return identity | {"temperature": settings.temperature} | scores


def draw(context: Context[EvaluateStage], name: str, policy: Policy, problems: list[Problem]) -> list[Trajectory]:
    """`samples` responses per problem; all policies are sampled with the same random numbers."""
    config = context.config
    engine = make_engine(config.engine, replace(config.sampling, temperature=config.evaluate.temperature), policy)
    draws = [(problem, i) for problem in problems for i in range(config.evaluate.samples)]
    pieces = [draws[start : start + config.engine.max_batch] for start in range(0, len(draws), config.engine.max_batch)]
    trajectories: list[Trajectory] = []
    progress = Progress(f"evaluate {name}", len(pieces))
    with Verifier(config.verifier, context.options.workers) as verifier:
        for i in progress:
            trajectories += sample(engine, policy, verifier, pieces[i], "evaluate", config.evaluate.seed, 0)
            progress.note(f"mean {sum(t.verified for t in trajectories) / len(trajectories):.3f}")
    return trajectories
