"""teacher: an external teacher for LUFFY, made when a method asks: the policy's family, another start, trained on the task itself."""

import shutil
from dataclasses import replace

from npo_pipeline.config import TeacherStage
from npo_pipeline.stages.cli import Context, parser, run_stage
from npo_pipeline.stages.prepare import render, warm_up
from npo_pipeline.storage.manifest import NAME, verify, write_manifest
from npo_pipeline.tasks.sources import load_cold_start


def run(context: Context[TeacherStage]) -> None:
    """The teacher shares the policy's tokenizer, so that its trajectories are tokens that the policy can be trained on."""
    layout, task, teacher = context.layout, context.config.task, context.config.teacher
    verify(layout.prepare)
    # The task's own parameters, not the cold start's: a teacher knows what the policy is to learn. Held-out questions stay out.
    examples = load_cold_start(replace(task, cold_start_config={}), teacher.cold_start.examples)
    (layout.teacher / NAME).unlink(missing_ok=True)

    from transformers import AutoTokenizer

    from npo_pipeline.policy.policy import as_policy, save_policy
    from npo_pipeline.policy.scratch import random_model

    tokenizer = AutoTokenizer.from_pretrained(layout.initial_policy, trust_remote_code=False)
    size = {key: getattr(teacher, key) for key in ("hidden_size", "intermediate_size", "layers")}
    policy = as_policy(random_model(tokenizer, replace(context.config.scratch, **size), teacher.seed), tokenizer)
    warm_up(policy, render(examples, task, policy, layout.teacher), teacher.cold_start, teacher.seed)
    shutil.rmtree(layout.teacher, ignore_errors=True)
    save_policy(policy, layout.teacher_policy)
    write_manifest(layout.teacher, "teacher", context.config_sha256, list(layout.teacher_policy.rglob("*")))


if __name__ == "__main__":
    run_stage(parser("teacher", __doc__), TeacherStage, run)
