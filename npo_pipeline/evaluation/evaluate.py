"""Sampling and scoring of one policy on the held-out problems, and on the benchmarks beside them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from npo_pipeline.analysis.benchmarks import summarise_benchmarks
from npo_pipeline.analysis.statistics import summarise
from npo_pipeline.configuration.stages import EvaluateStage
from npo_pipeline.context import Context
from npo_pipeline.evaluation.policies import policy_folder
from npo_pipeline.policy.checkpoints import open_policy, policy_sha256
from npo_pipeline.policy.device import pick_device
from npo_pipeline.policy.policy import Policy
from npo_pipeline.progress import Progress
from npo_pipeline.records import Problem, Trajectory
from npo_pipeline.rollout.engine import Engine
from npo_pipeline.rollout.engines import check_prompts, make_engine
from npo_pipeline.rollout.sample import sample
from npo_pipeline.storage.evaluations import write_evaluation
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.parquet import GUIDE_SHARD, read_problems, trajectory_row, write_table
from npo_pipeline.tasks.judging.verify import Verifier


def evaluate(context: Context[EvaluateStage], name: str) -> None:
    """The evaluation file of the policy `name`, and its samples."""
    layout = context.layout
    with only_writer(layout.evaluation(name).parent, f".{layout.evaluation(name).stem}.lock"):
        write_evaluation(layout, name, evaluate_policy(context, name, policy_folder(layout, name)))


def evaluate_policy(context: Context[EvaluateStage], name: str, folder: Path) -> dict[str, Any]:
    """Sample, write the trajectories, and return the contents of the evaluation file."""
    settings, layout = context.config.evaluate, context.layout
    problems = read_problems(layout.problems, "eval")
    others = read_problems(layout.benchmark_problems) if settings.benchmarks else []
    policy = open_policy(folder, context.config.dtype, pick_device(context.options.device))
    trajectories = draw(context, name, policy, problems, others)
    digest = policy_sha256(folder, policy)
    own = len(problems) * settings.samples
    _write(context, layout.evaluation_samples(name), problems, trajectories[:own], digest)
    result = {"policy_sha256": digest, "config_sha256": context.config_sha256}
    result |= {"temperature": settings.temperature} | _scores(context, problems, trajectories[:own])
    if others:
        _write(context, layout.benchmark_samples(name), others, trajectories[own:], digest)
        result |= _benchmarks(context, others, trajectories[own:])
    return result


def _write(
    context: Context[EvaluateStage], path: Path, problems: Sequence[Problem], trajectories: Sequence[Trajectory], digest: str
) -> None:
    prompts = {problem.problem_id: problem.prompt for problem in problems}
    rows = [trajectory_row(trajectory, None, prompts[trajectory.problem_id], digest) for trajectory in trajectories]
    write_table(path, rows, GUIDE_SHARD, context.config_sha256, {"temperature": context.config.evaluate.temperature})


def _scores(context: Context[EvaluateStage], problems: Sequence[Problem], trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    settings, correct = context.config.evaluate, count_correct(problems, trajectories)
    difficulty = {problem.problem_id: problem.difficulty for problem in problems}
    return summarise(correct, settings.samples, settings.ks, difficulty, settings.bootstrap, settings.confidence, settings.seed)


def count_correct(problems: Sequence[Problem], trajectories: Sequence[Trajectory]) -> Counter[str]:
    """Verified responses of each problem."""
    correct = Counter({problem.problem_id: 0 for problem in problems})
    correct.update(trajectory.problem_id for trajectory in trajectories if trajectory.verified)
    return correct


def _benchmarks(context: Context[EvaluateStage], problems: Sequence[Problem], trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """The scores of each benchmark, and the plain average over them, in which every benchmark counts alike."""
    settings, found, shares = context.config.evaluate, {}, {}
    for name in settings.benchmarks:
        own = [problem for problem in problems if problem.split == name]
        ids = {problem.problem_id for problem in own}
        scores = _scores(context, own, [trajectory for trajectory in trajectories if trajectory.problem_id in ids])
        found[name] = {key: scores[key] for key in ("n_problems", "overall", "difficulty", "correct")}
        shares[name] = {"": np.array([list(scores["correct"].values())]) / settings.samples}
    average = summarise_benchmarks(shares, settings.bootstrap, settings.confidence, settings.seed)[""].average
    return {"benchmarks": found, "average": {f"mean@{settings.samples}": asdict(average)}}


def draw(context: Context[EvaluateStage], name: str, policy: Policy, *parts: Sequence[Problem]) -> list[Trajectory]:
    """`samples` responses per problem; all policies are sampled with the same random numbers.

    No batch holds problems of two parts, since what is beside it may change how a row is rounded: benchmarks that are added leave
    the task's own results as they were.
    """
    return draw_with(context, name, engine_of(context, policy, *parts), policy, *parts)


def engine_of(context: Context[EvaluateStage], policy: Policy, *parts: Sequence[Problem]) -> Engine:
    """One that samples as evaluations do. Raises ConfigError where prompts do not fit."""
    config = context.config
    check_prompts(config.engine, config.sampling, policy, [problem for part in parts for problem in part])
    return make_engine(config.engine, replace(config.sampling, temperature=config.evaluate.temperature), policy)


def draw_with(context: Context[EvaluateStage], name: str, engine: Engine, policy: Policy, *parts: Sequence[Problem]) -> list[Trajectory]:
    """The same with an engine that is there, for the policy as it is now."""
    config, size = context.config, context.config.engine.max_batch
    draws = [[(problem, i) for problem in part for i in range(config.evaluate.samples)] for part in parts]
    pieces = [part[start : start + size] for part in draws for start in range(0, len(part), size)]
    trajectories: list[Trajectory] = []
    progress = Progress(f"evaluate {name}", len(pieces))
    with Verifier(config.verifier, context.options.workers) as verifier:
        for i in progress:
            trajectories += sample(engine, policy, verifier, pieces[i], "evaluate", config.evaluate.seed, 0)
            progress.note(f"mean {sum(t.verified for t in trajectories) / len(trajectories):.3f}")
    return trajectories
