"""The engines by their names in `engine.name`."""

from collections.abc import Sequence

from npo_pipeline.configuration.settings import EngineConfig, SamplingConfig
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Problem
from npo_pipeline.rollout.check import CheckedEngine
from npo_pipeline.rollout.engine import Engine
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.rollout.room import readable_length, require_room


def make_engine(settings: EngineConfig, sampling: SamplingConfig, policy: Policy, kept: int | None = 0) -> Engine:
    """The engine that the configuration names, under its self-check; npo_pipeline.configuration.checks has refused any other name.

    `kept`: bytes that whoever uses it keeps on the policy's device while it samples, beyond what is there; None: nobody knows.
    """
    engine = _engine(settings, sampling, policy, kept)
    return CheckedEngine(engine, policy, sampling, settings) if settings.check_every else engine


def check_prompts(settings: EngineConfig, sampling: SamplingConfig, policy: Policy, problems: Sequence[Problem]) -> None:
    """Refuse now what would stop the run at the step that draws it. Raises DataError for a prompt that the engine cannot read."""
    asked = {(problem.prompt_token_ids, problem.images) for problem in problems}
    require_room(policy, sampling, readable_length(policy, settings), asked)


def _engine(settings: EngineConfig, sampling: SamplingConfig, policy: Policy, kept: int | None) -> Engine:
    if settings.name == "transformers":
        return TransformersEngine(policy, sampling, settings.max_batch)
    from npo_pipeline.rollout.vllm import VllmEngine  # an extra: imported where it is asked for

    return VllmEngine(policy, sampling, settings, kept)
