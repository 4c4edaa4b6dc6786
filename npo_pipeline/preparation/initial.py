"""The initial policy: built, or loaded from where the configuration says; with its cold start."""

from pathlib import Path

from npo_pipeline.configuration.settings import ColdStartConfig
from npo_pipeline.configuration.stages import PrepareStage
from npo_pipeline.context import Context
from npo_pipeline.policy.cold_start import cold_start
from npo_pipeline.policy.device import pick_device
from npo_pipeline.policy.gguf import load_gguf
from npo_pipeline.policy.policy import Policy, load_policy
from npo_pipeline.policy.scratch import build_scratch
from npo_pipeline.records import Problem
from npo_pipeline.storage.hub import hub_commit
from npo_pipeline.tasks.prompts import MARK
from npo_pipeline.tasks.raw import RawProblem


def initial_policy(context: Context[PrepareStage], texts: list[RawProblem], seed: int) -> Policy:
    """Build or load the policy that the configuration names; `seed` is of its weights where they are random."""
    settings, device = context.config.policy, pick_device(context.options.device)
    if settings.source == "scratch":
        template = context.config.task.prompt.template.replace(MARK, "")
        words = [template.replace("{question}", raw.question) + raw.answer for raw in texts]
        policy = build_scratch(words, settings.scratch, seed, settings.vision)
        policy.model.to(device)
        return policy
    if settings.source == "gguf":
        policy = load_gguf(settings.path or "", settings.dtype)
        policy.model.to(device)
        return policy
    policy = load_policy(settings.path or "", settings.dtype, device, policy_commit(context) or settings.revision, "policy.path")
    if policy.vision and settings.vision:
        policy.vision.limit(settings.vision.min_pixels, settings.vision.max_pixels)
    return policy


def policy_commit(context: Context[PrepareStage]) -> str | None:
    """Of a policy from the hub; None of a local one, or where the hub did not tell."""
    settings = context.config.policy
    path = settings.path or ""
    return None if Path(path).expanduser().exists() else hub_commit(path, settings.revision, "model")


def warm_up(policy: Policy, examples: list[Problem], settings: ColdStartConfig, seed: int) -> None:
    """The cold start on reference answers, where one is configured."""
    if not examples:
        return
    prompts = [policy.prompt(example.prompt_token_ids, example.images) for example in examples]
    rows = [(prompt, policy.response(example.answer)) for prompt, example in zip(prompts, examples, strict=True)]
    cold_start(policy, rows, settings, seed)
