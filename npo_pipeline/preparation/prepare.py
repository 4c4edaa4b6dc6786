"""The work of the stage `prepare`: problems, images, initial policy and manifest."""

import shutil

from npo_pipeline.configuration.stages import PrepareStage
from npo_pipeline.context import Context
from npo_pipeline.policy.policy import export_policy
from npo_pipeline.preparation.initial import initial_policy, policy_commit, warm_up
from npo_pipeline.preparation.problems import render
from npo_pipeline.preparation.trial import try_policy
from npo_pipeline.storage.images import FOLDER as IMAGE_FOLDER
from npo_pipeline.storage.manifest import write_manifest
from npo_pipeline.storage.parquet import PROBLEMS, problem_row, write_table
from npo_pipeline.tasks.raw import RawProblem
from npo_pipeline.tasks.sources import describe_sources


def prepare(context: Context[PrepareStage], train: list[RawProblem], held_out: list[RawProblem], cold: list[RawProblem]) -> None:
    """Problems, images, policy and manifest. `cold` are the examples of the cold start."""
    task, folder = context.config.task, context.layout.prepare
    seed = context.config.policy.seed + context.layout.cold_start
    policy = initial_policy(context, [*train, *cold], seed)
    shutil.rmtree(folder, ignore_errors=True)
    problems, examples = render([*train, *held_out], task, policy, folder), render(cold, task, policy, folder)
    if context.config.policy.source != "scratch":
        try_policy(policy, problems[0], task.verifier)
    warm_up(policy, examples, context.config.policy.cold_start, seed)
    pixels = policy.vision.settings if policy.vision else {}
    write_table(context.layout.problems, [problem_row(problem) for problem in problems], PROBLEMS, context.config_sha256, pixels)
    export_policy(policy, context.layout.initial_policy)
    files = [context.layout.problems, *context.layout.initial_policy.rglob("*"), *(folder / IMAGE_FOLDER).rglob("*")]
    facts = {"train": len(train), "eval": len(held_out), "sources": describe_sources(task), **pixels}
    if context.config.policy.source == "pretrained":
        facts["policy"] = {"revision": context.config.policy.revision, "commit": policy_commit(context)}
    write_manifest(folder, "prepare", context.config_sha256, files, facts)
