"""prepare: problems with rendered prompts, and the initial policy as a Hugging Face directory."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from npo_pipeline.config import PrepareStage
from npo_pipeline.records import Problem
from npo_pipeline.settings import ColdStartConfig, TaskConfig
from npo_pipeline.stages.cli import Context, parser, run_stage
from npo_pipeline.storage.hub import hub_commit
from npo_pipeline.storage.manifest import NAME, write_manifest
from npo_pipeline.storage.parquet import PROBLEMS, problem_row, write_table
from npo_pipeline.tasks.checks import check_source
from npo_pipeline.tasks.prompts import render_prompt
from npo_pipeline.tasks.raw import RawProblem
from npo_pipeline.tasks.sources import describe_sources, load_cold_start, load_problems

if TYPE_CHECKING:
    from npo_pipeline.policy.policy import Policy


def run(context: Context[PrepareStage]) -> None:
    task, folder = context.config.task, context.layout.prepare
    check_source(task)
    train, held_out = load_problems(task)
    cold = load_cold_start(task, context.config.policy.cold_start.examples) if context.config.policy.cold_start.steps else []
    (folder / NAME).unlink(missing_ok=True)

    from npo_pipeline.policy.policy import export_policy

    policy = initial_policy(context, [*train, *cold])
    rows = [problem_row(problem) for problem in render([*train, *held_out], context.config.task, policy)]
    warm_up(policy, render(cold, context.config.task, policy), context.config.policy.cold_start, context.config.policy.seed)
    shutil.rmtree(folder, ignore_errors=True)
    write_table(context.layout.problems, rows, PROBLEMS, context.config_sha256)
    export_policy(policy, context.layout.initial_policy)
    files = [context.layout.problems, *context.layout.initial_policy.rglob("*")]
    facts = {"train": len(train), "eval": len(held_out), "sources": describe_sources(task)}
    if context.config.policy.source == "pretrained":
        facts["policy"] = {"revision": context.config.policy.revision, "commit": policy_commit(context)}
    write_manifest(folder, "prepare", context.config_sha256, files, facts)


def initial_policy(context: Context[PrepareStage], texts: list[RawProblem]) -> "Policy":
    """Build or load the policy that the configuration names."""
    from npo_pipeline.policy.gguf import load_gguf
    from npo_pipeline.policy.policy import load_policy
    from npo_pipeline.policy.scratch import build_scratch
    from npo_pipeline.runtime import pick_device

    settings, device = context.config.policy, pick_device(context.options.device)
    if settings.source == "scratch":
        words = [context.config.task.prompt.template.replace("{question}", raw.question) + raw.answer for raw in texts]
        policy = build_scratch(words, settings.scratch, settings.seed)
        policy.model.to(device)
        return policy
    if settings.source == "gguf":
        return load_gguf(settings.path or "", settings.dtype)
    return load_policy(settings.path or "", settings.dtype, device, policy_commit(context) or settings.revision)


def policy_commit(context: Context[PrepareStage]) -> str | None:
    """Of a policy from the hub; None of a local one, or where the hub did not tell."""
    settings = context.config.policy
    path = settings.path or ""
    return None if Path(path).expanduser().exists() else hub_commit(path, settings.revision, "model")


def render(raws: list[RawProblem], task: TaskConfig, policy: "Policy") -> list[Problem]:
    """Problems with the prompt as this policy reads it."""
    rendered = [render_prompt(raw.question, task.prompt, policy.tokenizer) for raw in raws]
    return [Problem(**vars(raw), prompt=prompt, prompt_token_ids=ids) for raw, (prompt, ids) in zip(raws, rendered, strict=True)]


def warm_up(policy: "Policy", examples: list[Problem], settings: ColdStartConfig, seed: int) -> None:
    """The cold start on reference answers, where one is configured."""
    if not examples:
        return
    from npo_pipeline.policy.cold_start import cold_start

    stop = policy.stop_ids[0]
    rows = [(e.prompt_token_ids, (*policy.tokenizer.encode(e.answer, add_special_tokens=False), stop)) for e in examples]
    cold_start(policy, rows, settings, seed)


if __name__ == "__main__":
    run_stage(parser("prepare", __doc__), PrepareStage, run)
