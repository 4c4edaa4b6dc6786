"""The checks of a whole configuration, in the order in which they are told."""

from typing import Any

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.engine import check_coldest, check_engine, check_sampling
from npo_pipeline.configuration.checks.guidance import check_guidance
from npo_pipeline.configuration.checks.kinds import check_kinds
from npo_pipeline.configuration.checks.method import check_method
from npo_pipeline.configuration.checks.policy import check_policy
from npo_pipeline.configuration.checks.require import check_seed, one_of, plain_name, require
from npo_pipeline.configuration.checks.results import check_comparison, check_evaluate, check_measure
from npo_pipeline.configuration.checks.task import check_task
from npo_pipeline.configuration.checks.training import check_grpo, check_guided, check_probe, check_trainer, merge_grpo
from npo_pipeline.configuration.windows import run_steps


def check_root(root: s.RootConfig) -> None:
    """Raises ConfigError for the first value that cannot work."""
    _check_names(root)
    check_task(root.task)
    check_policy(root.policy)
    check_engine(root.engine)
    check_sampling(root.sampling)
    check_coldest(root)
    check_grpo(root.grpo)
    check_trainer(root.trainer)
    for name in root.report_to:
        one_of("report_to", name, s.SINKS)
    check_probe(root.probe)
    check_guided(root.guided)
    check_guidance(root.guidance)
    check_comparison(root.comparison)
    check_measure(root.measure)
    _check_methods(root)
    check_evaluate(root.evaluate)
    _check_together(root)


def _check_names(root: s.RootConfig) -> None:
    plain_name("name", root.name)
    require(bool(root.seeds) and len(set(root.seeds)) == len(root.seeds), "seeds", root.seeds, "a list of different whole numbers")
    require(1 <= root.rounds <= 100, "rounds", root.rounds, "from 1 to 100")
    check_seed("seeds", min(root.seeds), root.seeds)
    check_seed("seeds", max(root.seeds), root.seeds)


def _check_methods(root: s.RootConfig) -> None:
    alone = f"--target results/{root.name}/seed-{root.seeds[0]}/evaluation/probe.json"
    require(bool(root.method), "method", [], f"at least one method, for example method=[npo]; GRPO alone: {alone}, without method=[]")
    has_teacher = root.policy.teacher is not None and root.policy.source == "scratch"
    for name, method in root.method.items():
        check_method(name, method)
        require(
            run_steps(method, root.probe.steps) >= 1,
            f"method.{name}.length",
            method.length,
            f"at least one step of probe.steps={root.probe.steps}",
        )
        _check_own_grpo(root.grpo, method.grpo, f"method.{name}.grpo")
        method.check_with(name, root)
        wants_teacher = method.demonstrations is not None and method.demonstrations.policy == "teacher"
        require(
            has_teacher or not wants_teacher,
            f"method.{name}.demonstrations.policy",
            "teacher",
            "a model directory, a hub name or a trajectory file, since this policy has no policy.teacher (only policy=tiny makes one)",
        )


def _check_own_grpo(grpo: s.GrpoConfig, own: dict[str, Any], key: str) -> None:
    merged = merge_grpo(grpo, own, key)
    check_kinds(merged, f"{key}.")
    check_grpo(merged, key)


def _check_together(root: s.RootConfig) -> None:
    """What two groups of settings must agree on."""
    kind, size, batch = root.task.verifier.kind, root.task.train_size, root.grpo.prompts_per_step
    require(
        not root.evaluate.benchmarks or kind != "reasoning_gym",
        "task.verifier.kind",
        kind,
        "exact, math or python, since it judges evaluate.benchmarks too",
    )
    require(
        size is None or size >= batch,
        "task.train_size",
        size,
        f"at least grpo.prompts_per_step={batch}, so that a step has different problems",
    )
