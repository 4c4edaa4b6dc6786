"""From problems to verified trajectories: sample, decode, judge."""

from collections.abc import Sequence
from typing import Any

from npo_pipeline.configuration.settings import SamplingConfig
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Draw, Trajectory
from npo_pipeline.rollout.engine import Completion, Engine, Request
from npo_pipeline.rollout.order import sample_seed
from npo_pipeline.tasks.judging.verify import Verifier


def sample(
    engine: Engine, policy: Policy, verifier: Verifier, draws: Sequence[Draw], purpose: str, seed: int, step: int
) -> list[Trajectory]:
    """One verified trajectory per draw, in their order. Seeds are of (purpose, seed, step, problem, index)."""
    requests = [Request(p.prompt_token_ids, sample_seed(purpose, seed, step, p.problem_id, i), p.images) for p, i in draws]
    completions = engine.generate(requests)
    texts = [decode(policy, completion) for completion in completions]
    verdicts = verifier.judge([(problem, text) for (problem, _), text in zip(draws, texts, strict=True)])
    return [
        Trajectory(
            problem_id=problem.problem_id,
            sample_index=index,
            prompt_token_ids=problem.prompt_token_ids,
            response_token_ids=completion.token_ids,
            behaviour_logprobs=completion.logprobs,
            reward=verdict.reward,
            verified=verdict.verified,
            finish_reason=completion.finish_reason,
            response_text=text,
            images=problem.images,
        )
        for (problem, index), completion, text, verdict in zip(draws, completions, texts, verdicts, strict=True)
    ]


def decode(policy: Policy, completion: Completion) -> str:
    """The response as text, without special tokens: what the verifier reads."""
    return str(policy.tokenizer.decode(completion.token_ids, skip_special_tokens=True))


def sampling_facts(sampling: SamplingConfig) -> dict[str, Any]:
    """For a file's metadata: the distribution that its log-probs belong to."""
    return {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
