"""Both engines on a GPU against the policy they sample from: log-probs, and for vLLM that it sleeps and comes back with the new weights."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from gpu_here import DEVICE, needs_gpu
from tiny import SAMPLING, tiny_policy
from vllm_here import needs_vllm

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.engine import settle_engine
from npo_pipeline.policy.logprobs import score
from npo_pipeline.policy.policy import Policy
from npo_pipeline.rollout.draw import chosen, chosen_by_blocks
from npo_pipeline.rollout.engine import Completion, Engine, Request
from npo_pipeline.rollout.hf import TransformersEngine

pytestmark = [pytest.mark.slow, needs_gpu]

PROMPTS = [tuple(range(5 + i, 45 + 7 * i)) for i in range(4)]
REQUESTS = [Request(prompt, 1000 * i + k) for i, prompt in enumerate(PROMPTS) for k in range(8)]


def policy_of(dtype: torch.dtype) -> Policy:
    """With logits spread enough that its distributions are not flat."""
    policy = tiny_policy()
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(8)
    policy.model.to(DEVICE, dtype)
    return policy


def mean_gap(policy: Policy, found: Sequence[Completion]) -> float:
    """|engine - trainer| in nats per token."""
    rows = [(request.prompt_token_ids, completion.token_ids) for request, completion in zip(REQUESTS, found, strict=True)]
    scored = score(policy.model, rows, policy.pad_id, 1.0, 10_000)
    return float(np.concatenate([np.abs(np.array(a) - np.array(b.logprobs)) for a, b in zip(scored, found, strict=True)]).mean())


def reweigh(policy: Policy) -> None:
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_the_transformers_engine_says_the_policys_log_probs(dtype: torch.dtype, tolerance: float) -> None:
    policy = policy_of(dtype)
    assert mean_gap(policy, TransformersEngine(policy, SAMPLING, 64).generate(REQUESTS)) < tolerance


def test_blocks_choose_as_the_whole_vocabulary_does() -> None:
    generator = torch.Generator().manual_seed(0)
    logprobs = (torch.randn(512, 151_936, generator=generator) * 3).log_softmax(-1).to(DEVICE)
    uniforms = torch.rand(512, generator=generator, dtype=torch.float64).to(DEVICE)
    assert (chosen(logprobs, uniforms) != chosen_by_blocks(logprobs, uniforms)).sum() <= 2


@pytest.fixture(scope="module")
def engine() -> Engine:
    """One for the module: of vLLM's memory that can sleep there is one per process. Nothing is trained here, so it has nearly all."""
    from npo_pipeline.rollout.vllm import VllmEngine

    settings = load_root(overrides="engine=vllm engine.max_batch=64 engine.vllm.cpu_cache_gib=0.1 engine.vllm.max_model_len=256").engine
    return VllmEngine(policy_of(torch.bfloat16), SAMPLING, settle_engine(settings, "vllm", gpu=DEVICE == "cuda"))


@needs_vllm
def test_vllm_sleeps_and_comes_back_with_the_weights_of_then(engine: Engine) -> None:
    """Before a rest, after it, and after one in which the weights were changed; each time by the policy's own log-probs."""
    first = engine.generate(REQUESTS)
    assert mean_gap(engine.policy, first) < 5e-2
    for change in (False, True):
        engine.rest()
        if change:
            reweigh(engine.policy)
        found = engine.generate(REQUESTS)
        assert mean_gap(engine.policy, found) < 5e-2
    assert mean_gap(engine.policy, first) > 5e-2, "the old samples are told from the new policy's"


@needs_vllm
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU: on a CPU nothing sleeps")
def test_what_vllm_takes_is_given_back_while_it_rests(engine: Engine) -> None:
    engine.generate(REQUESTS)
    busy, total = torch.cuda.mem_get_info()
    engine.rest()
    assert torch.cuda.mem_get_info()[0] - busy > 0.5 * total, "it had all that nobody keeps"
    assert mean_gap(engine.policy, engine.generate(REQUESTS)) < 5e-2
