"""Whether prompt and response together fit into what the policy, and vLLM where that samples, can read."""

from collections.abc import Iterable

from npo_pipeline.configuration.settings import EngineConfig, SamplingConfig
from npo_pipeline.errors import DataError
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Image


def readable_length(policy: Policy, settings: EngineConfig) -> int | None:
    """Tokens of prompt and response together: as many as the policy can read, or fewer where vLLM is configured so; None: no bound."""
    bounds = [getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)]
    if settings.name == "vllm":
        assert settings.vllm is not None, "checked with the configuration"
        bounds.append(settings.vllm.max_model_len)
    return min((bound for bound in bounds if bound is not None), default=None)


def require_room(
    policy: Policy, sampling: SamplingConfig, length: int | None, prompts: Iterable[tuple[tuple[int, ...], tuple[Image, ...]]]
) -> None:
    """A response would end early, or fail, where it does not fit behind its prompt. Raises DataError for the longest such prompt."""
    longest = max((len(policy.prompt(*prompt)) for prompt in prompts), default=0)
    needed = longest + sampling.max_new_tokens
    if length is not None and needed > length:
        raise DataError(
            f"sampling.max_new_tokens: {length} tokens can be read, but a prompt of {longest} with "
            f"sampling.max_new_tokens={sampling.max_new_tokens} needs {needed}. Lower it, or raise what bounds it: the policy's "
            "max_position_embeddings, and with vLLM engine.vllm.max_model_len"
        )
