"""The work of the stage `teacher`: a policy of the same family and tokenizer, from another start, trained on the task itself."""

import shutil
from dataclasses import replace

from transformers import AutoTokenizer

from npo_pipeline.configuration.stages import TeacherStage
from npo_pipeline.context import Context
from npo_pipeline.policy.device import pick_device
from npo_pipeline.policy.policy import as_policy, save_policy
from npo_pipeline.policy.scratch import random_model
from npo_pipeline.preparation.initial import warm_up
from npo_pipeline.preparation.problems import render
from npo_pipeline.storage.manifest import write_manifest
from npo_pipeline.tasks.raw import RawProblem


def make_teacher(context: Context[TeacherStage], examples: list[RawProblem]) -> None:
    """The teacher shares the policy's tokenizer, so that its trajectories are tokens that the policy can be trained on."""
    layout, teacher = context.layout, context.config.teacher
    tokenizer = AutoTokenizer.from_pretrained(layout.initial_policy, trust_remote_code=False)
    size = {key: getattr(teacher, key) for key in ("hidden_size", "intermediate_size", "layers")}
    policy = as_policy(random_model(tokenizer, replace(context.config.scratch, **size), teacher.seed), tokenizer)
    policy.model.to(pick_device(context.options.device))
    warm_up(policy, render(examples, context.config.task, policy, layout.teacher), teacher.cold_start, teacher.seed)
    shutil.rmtree(layout.teacher, ignore_errors=True)
    save_policy(policy, layout.teacher_policy)
    write_manifest(layout.teacher, "teacher", context.config_sha256, list(layout.teacher_policy.rglob("*")))
