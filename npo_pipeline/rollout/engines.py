"""The engines by their names in `engine.name`."""

from npo_pipeline.policy.policy import Policy
from npo_pipeline.rollout.engine import Engine
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.settings import EngineConfig, SamplingConfig


def make_engine(settings: EngineConfig, sampling: SamplingConfig, policy: Policy) -> Engine:
    """The engine that the configuration names; npo_pipeline.checks has refused any other name."""
    engines = {"transformers": TransformersEngine}
    return engines[settings.name](policy, sampling, settings.max_batch)
