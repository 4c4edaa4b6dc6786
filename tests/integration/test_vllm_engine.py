"""vLLM against the policy it samples from, and against the embedded engine: log-probs, weights, stopping, seeds, statistics.

The engines are started once for the module; what a test changes of one (policy weights, sampling) it leaves to the next.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SAMPLING, SCRATCH, grpo, random_slots, tiny_policy
from vllm_here import needs_vllm

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import LoraConfig, SamplingConfig
from npo_pipeline.errors import DataError, NumericalError
from npo_pipeline.grpo.state import load_state, save_state
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy.average import acting, trained
from npo_pipeline.policy.checkpoints import CheckpointWriter, Walk
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.logprobs import score
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.policy import Policy, as_policy, load_weights, save_policy
from npo_pipeline.policy.scratch import random_model
from npo_pipeline.rollout.check import CheckedEngine
from npo_pipeline.rollout.engine import Completion, Engine, Request
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.storage.layout import checkpoint

pytestmark = [pytest.mark.slow, needs_vllm]

SETTINGS = load_root(overrides="engine=vllm engine.vllm.cpu_cache_gib=0.1").engine
TOLERANCE = {"tied": 1e-4, "untied": 1e-4, "lora": 1e-4, "bfloat16": 5e-2}
PROMPTS = [tuple(range(5 + i, 45 + 7 * i)) for i in range(4)]  # longer than a block of the cache, so that prefixes are shared
REQUESTS = [Request(prompt, 1000 * i + k) for i, prompt in enumerate(PROMPTS) for k in range(8)]


def policy_of(kind: str, seed: int = 0) -> Policy:
    """The tiny policy with logits spread enough that its distributions are not flat."""
    policy = tiny_policy(seed)
    if kind == "untied":
        torch.manual_seed(seed)
        model = random_model(policy.tokenizer, SCRATCH, seed)
        config = copy.deepcopy(model.config)
        config.tie_word_embeddings = False
        policy = as_policy(type(model)(config), policy.tokenizer)
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(8)
        if kind == "untied":
            policy.model.get_output_embeddings().weight.mul_(8)
    if kind == "lora":
        add_lora(policy.model, LoraConfig(4, 8), "nowhere", seed)
    if kind == "bfloat16":
        policy.model.to(torch.bfloat16)
    return policy


@pytest.fixture(scope="module")
def engines() -> dict[str, Engine]:
    from npo_pipeline.rollout.vllm import VllmEngine

    return {kind: VllmEngine(policy_of(kind), SAMPLING, SETTINGS) for kind in TOLERANCE}


@pytest.fixture
def engine(engines: dict[str, Engine]) -> Engine:
    """The tied one in float32, as configured."""
    engines["tied"].sampling = SAMPLING
    return engines["tied"]


def gaps(policy: Policy, requests: Sequence[Request], found: Sequence[Completion]) -> np.ndarray:
    """|engine - trainer| of every token, at temperature 1."""
    rows = [(request.prompt_token_ids, completion.token_ids) for request, completion in zip(requests, found, strict=True)]
    scored = score(policy.model, rows, policy.pad_id, 1.0, 10_000)
    return np.concatenate([np.abs(np.array(a) - np.array(b.logprobs)) for a, b in zip(scored, found, strict=True)])


def reweigh(policy: Policy, seed: int) -> None:
    """Other weights, as an optimizer with a large step would leave them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_((torch.randn(parameter.shape, generator=generator) * 0.05).to(parameter.dtype))


@pytest.mark.parametrize("kind", TOLERANCE)
def test_log_probs_are_the_policys_before_and_after_an_update_in_place(engines: dict[str, Engine], kind: str) -> None:
    engine = engines[kind]
    engine.sampling = SAMPLING
    before = engine.generate(REQUESTS)
    assert gaps(engine.policy, REQUESTS, before).max() < TOLERANCE[kind]
    reweigh(engine.policy, seed=1)
    after = engine.generate(REQUESTS)
    assert gaps(engine.policy, REQUESTS, after).max() < TOLERANCE[kind]
    assert gaps(engine.policy, REQUESTS, before).mean() > 0.05  # the old samples are told from the new policy's


def test_prompts_of_a_group_share_their_prefill(engine: Engine) -> None:
    engine._llm.reset_prefix_cache()
    prompts = [{"prompt_token_ids": list(PROMPTS[0])}] * 8
    outputs = engine._llm.generate(prompts, [engine._parameters(request) for request in REQUESTS[:8]], use_tqdm=False)
    assert [output.num_cached_tokens for output in outputs] == [0] + [32] * 7


def every_change(policy: Policy, folder: Path) -> Iterator[str]:
    """Each way in which the pipeline changes weights, one at a time, after its name was yielded."""
    updater = Updater(policy, grpo(), SAMPLING)
    save_policy(policy, folder / "first")
    yield "an optimizer step"
    updater.update([type(slot)(slot.trajectory) for slot in random_slots(policy, 8)], [1.0, -1.0] * 4, 0, 0)
    save_state(folder / "state", updater.optimizer, 1, "this run")
    yield "another checkpoint"
    load_weights(policy, folder / "first")
    yield "a resumed state"
    assert load_state(folder / "state", updater.optimizer, "this run", 1) == 1


@pytest.mark.parametrize("kind", ["tied", "lora", "bfloat16"])
def test_every_change_of_the_weights_is_noticed(engines: dict[str, Engine], kind: str, tmp_path: Path) -> None:
    engine = engines[kind]
    engine.sampling = SAMPLING
    for change in every_change(engine.policy, tmp_path):
        engine.generate(REQUESTS[:4])
        held = engine.weights
        assert held == identity(engine.policy), change
    assert held != identity(engine.policy)  # the last change
    assert gaps(engine.policy, REQUESTS, engine.generate(REQUESTS)).max() < TOLERANCE[kind]


def test_a_walk_over_checkpoints_that_are_deltas_is_noticed(engines: dict[str, Engine], tmp_path: Path) -> None:
    """Deltas are patched into the weights through numpy, which no version counter of torch sees."""
    engine, policy = engines["bfloat16"], policy_of("bfloat16")
    writer = CheckpointWriter(policy, tmp_path, key_every=10)
    for step in (0, 1):
        writer.put(step, identity(policy))
        with torch.no_grad():
            policy.model.get_input_embeddings().weight[:100].mul_(-2)
    writer.wait()
    writer.close()
    assert not (checkpoint(tmp_path, 1) / "model.safetensors").exists()
    walk, own = Walk(tmp_path, 0), engine.policy
    engine.policy, engine.sampling = walk.policy, SAMPLING
    try:
        for step in (0, 1, 0):
            walk.to(step)
            assert gaps(walk.policy, REQUESTS, engine.generate(REQUESTS)).mean() < TOLERANCE["bfloat16"]
    finally:
        engine.policy = own


@pytest.mark.parametrize(("kind", "noise"), [("tied", 0.05), ("lora", 0.2), ("bfloat16", 0.05)])
def test_a_policy_that_acts_with_other_weights_is_followed_there_and_back(engines: dict[str, Engine], kind: str, noise: float) -> None:
    engine, policy = engines[kind], engines[kind].policy
    engine.sampling = SAMPLING
    own = engine.generate(REQUESTS)
    generator = torch.Generator().manual_seed(5)
    with acting(policy.model, [p.detach() + noise * torch.randn(p.shape, generator=generator) for p in trained(policy.model)]):
        others = engine.generate(REQUESTS)
        assert gaps(policy, REQUESTS, others).max() < TOLERANCE[kind]
    assert engine.generate(REQUESTS) == own
    assert gaps(policy, REQUESTS, others).mean() > 0.05


def test_weights_that_did_not_change_are_not_handed_over_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.update()
    calls: list[str] = []
    monkeypatch.setattr(engine._llm, "collective_rpc", lambda method, **_: calls.append(method))
    engine.generate(REQUESTS[:2])
    assert calls == []
    reweigh(engine.policy, seed=3)
    engine.generate(REQUESTS[:2])
    assert calls == ["take_over"]
    engine.weights = None  # what was recorded did not reach vLLM


def test_a_rest_costs_nothing_but_the_weights_again_before_there_is_a_cache(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleep is for GPUs: here the memory stays, and what is called is noted. The weights are overwritten, as if they had been given up."""
    calls: list[str] = []

    def sleep(level: int) -> None:
        calls.append(f"sleep {level}")
        engine._llm.collective_rpc("take_over", args=([(n, torch.zeros_like(w)) for n, w in engine.policy.effective_weights()],))

    before, hand_over = engine.generate(REQUESTS[:8]), engine._hand_over
    monkeypatch.setattr(engine, "can_sleep", True)
    monkeypatch.setattr(engine._llm, "sleep", sleep)
    monkeypatch.setattr(engine._llm, "wake_up", lambda tags: calls.append(f"wake {tags[0]}"))
    monkeypatch.setattr(engine, "_hand_over", lambda: (calls.append("weights"), hand_over()))
    for _ in range(2):
        engine.rest()
        engine.rest()
        assert engine.generate(REQUESTS[:8]) == before
        assert engine.generate(REQUESTS[:8]) == before
    assert calls == ["sleep 2", "wake weights", "weights", "wake kv_cache"] * 2


def checked(engine: Engine) -> CheckedEngine:
    return CheckedEngine(engine, engine.policy, engine.sampling, replace(SETTINGS, check_every=1))


@pytest.mark.parametrize("sampling", [SAMPLING, SamplingConfig(0.6, 0.8, 20, 12)])
def test_the_self_check_catches_a_tied_head_that_an_update_forgot(engine: Engine, sampling: SamplingConfig) -> None:
    engine.sampling = sampling
    checked(engine).generate(REQUESTS)
    reweigh(engine.policy, seed=4)
    tensors = [(name, tensor) for name, tensor in engine.policy.model.state_dict().items() if name != "lm_head.weight"]
    engine._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": tensors})
    engine.weights = identity(engine.policy)
    try:
        with pytest.raises(NumericalError, match=r"engine vllm, call 0: its log-probs differ .* engine.check_tolerance allows 0.001"):
            checked(engine).generate(REQUESTS)
    finally:
        engine.weights = None
    checked(engine).generate(REQUESTS)


def exact(policy: Policy, sampling: SamplingConfig, prompt: Sequence[int], response: Sequence[int]) -> list[float]:
    """Log-probs of a response under temperature, then top-k, then top-p, in float64 and the slow way."""
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*prompt, *response]])).logits[0].double().numpy() / sampling.temperature
    found = []
    for t, token in enumerate(response):
        row = logits[len(prompt) - 1 + t]
        kept = np.argsort(-row, kind="stable")[: sampling.top_k or len(row)]
        probabilities = np.exp(row[kept] - row[kept].max())
        probabilities /= probabilities.sum()
        before = np.cumsum(probabilities) - probabilities  # mass of the likelier tokens
        probabilities *= before < sampling.top_p
        place = int(np.flatnonzero(kept == token)[0])
        found.append(float(np.log(probabilities[place] / probabilities.sum())))
    return found


@pytest.mark.parametrize(("temperature", "top_p", "top_k"), [(0.6, 1.0, 0), (1.7, 1.0, 0), (1.0, 1.0, 5), (1.0, 0.7, 0), (0.8, 0.9, 20)])
def test_log_probs_belong_to_the_distribution_that_was_sampled(engine: Engine, temperature: float, top_p: float, top_k: int) -> None:
    engine.sampling = SamplingConfig(temperature, top_p, top_k, 12)
    for request, completion in zip(REQUESTS, engine.generate(REQUESTS), strict=True):
        expected = exact(engine.policy, engine.sampling, request.prompt_token_ids, completion.token_ids)
        assert np.abs(np.array(expected) - np.array(completion.logprobs)).max() < 1e-4


def test_the_same_seed_is_the_same_text_whatever_came_before_and_64_bits_fit(engine: Engine) -> None:
    seeds = [0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
    requests = [Request(PROMPTS[0], seed) for seed in seeds]
    first = engine.generate(requests)
    engine.generate(REQUESTS[3:9])  # leaves a prefix of these prompts in the cache
    assert engine.generate(requests) == first
    assert len({completion.token_ids for completion in first[:4]}) == 4  # a CPU's generator reads the lower 32 bits
    assert engine.generate([]) == []


def test_stop_and_length_are_those_of_the_embedded_engine(engine: Engine) -> None:
    """A fifth of the vocabulary stops; the stop token belongs to the response."""
    policy, engine.sampling = engine.policy, SamplingConfig(1.0, 1.0, 0, 10)
    stops = tuple(range(1, 300, 5))
    stopping = Policy(policy.model, policy.tokenizer, stops, policy.pad_id)
    try:
        engine.policy = stopping
        found = engine.generate(REQUESTS)
    finally:
        engine.policy = policy
    for completions in (found, TransformersEngine(stopping, engine.sampling, 64).generate(REQUESTS)):
        assert {completion.finish_reason for completion in completions} == {"stop", "length"}
        for completion in completions:
            ended = completion.token_ids[-1] in stops
            assert (completion.finish_reason == "stop") == ended
            assert not set(completion.token_ids[:-1]) & set(stops)
            assert ended or len(completion.token_ids) == 10
            assert len(completion.logprobs) == len(completion.token_ids) <= 10


def test_frequencies_follow_the_probabilities_as_in_the_embedded_engine(engine: Engine) -> None:
    prompt, count, engine.sampling = PROMPTS[1], 4000, SamplingConfig(1.0, 1.0, 0, 1)
    with torch.no_grad():
        expected = engine.policy.model(torch.tensor([prompt])).logits[0, -1].softmax(-1) * count
    requests = [Request(prompt, seed) for seed in range(count)]
    kept = expected >= 5
    degrees = int(kept.sum())
    for sampler in (engine, TransformersEngine(engine.policy, engine.sampling, 1000)):
        counted = torch.bincount(torch.tensor([completion.token_ids[0] for completion in sampler.generate(requests)]), minlength=300)
        chi2 = ((counted - expected) ** 2 / expected)[kept].sum()
        assert degrees > 3
        assert chi2 < degrees + 5 * (2 * degrees) ** 0.5  # five standard deviations of chi-square


def test_a_prompt_without_room_for_a_response_is_refused(engine: Engine) -> None:
    engine.sampling = SamplingConfig(1.0, 1.0, 0, 12)
    with pytest.raises(DataError, match=r"256 tokens can be read, but a prompt of 250 with sampling\.max_new_tokens=12 needs 262"):
        engine.generate([Request(tuple(range(2, 252)), 0)])
