"""The transformers engine: log-probs against a plain forward, seeds, stopping, and the distribution it samples."""

import numpy as np
import pytest
import torch
from tiny import tiny_policy

from npo_pipeline.configuration.settings import SamplingConfig
from npo_pipeline.policy.logprobs import collate, score
from npo_pipeline.policy.policy import Policy
from npo_pipeline.rollout.engine import Request
from npo_pipeline.rollout.hf import Context, TransformersEngine, sees_all
from npo_pipeline.rollout.order import sample_seed

POLICY = tiny_policy()
PROMPTS = [(5, 6, 7), (9,), (11, 12), (20, 21, 22, 23, 24)]


def engine(**changes: object) -> TransformersEngine:
    return TransformersEngine(POLICY, SamplingConfig(**{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 10} | changes), 64)


def test_sampled_logprobs_equal_a_plain_forward():
    for temperature in (1.0, 0.6):
        requests = [Request(prompt, i) for i, prompt in enumerate(PROMPTS * 4)]
        found = engine(temperature=temperature).generate(requests)
        rows = [(request.prompt_token_ids, completion.token_ids) for request, completion in zip(requests, found, strict=True)]
        for completion, expected in zip(found, score(POLICY.model, rows, POLICY.pad_id, temperature, 10_000), strict=True):
            torch.testing.assert_close(torch.tensor(completion.logprobs), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_near_zero_temperature_is_greedy_and_certain():
    prompt = PROMPTS[0]
    completion = engine(temperature=1e-4).generate([Request(prompt, 3)])[0]
    with torch.no_grad():
        for i, token in enumerate(completion.token_ids):
            assert POLICY.model(torch.tensor([[*prompt, *completion.token_ids[:i]]])).logits[0, -1].argmax() == token
    assert max(abs(value) for value in completion.logprobs) < 1e-3


def test_truncated_logprobs_belong_to_the_truncated_distribution():
    prompt, top_k = PROMPTS[1], 3
    with torch.no_grad():
        logits = POLICY.model(torch.tensor([prompt])).logits[0, -1]
    best = logits.topk(top_k)
    expected = dict(zip(best.indices.tolist(), best.values.log_softmax(-1).tolist(), strict=True))
    for seed in range(40):
        completion = engine(top_k=top_k, max_new_tokens=1).generate([Request(prompt, seed)])[0]
        assert abs(expected[completion.token_ids[0]] - completion.logprobs[0]) < 1e-5


def test_a_sample_is_a_function_of_its_seed_not_of_its_neighbours():
    alone = [engine().generate([Request(prompt, 7)])[0] for prompt in PROMPTS]
    together = engine().generate([Request(prompt, 7) for prompt in PROMPTS])
    assert [a.token_ids for a in alone] == [b.token_ids for b in together]
    assert engine().generate([Request(PROMPTS[0], 8)])[0].token_ids != alone[0].token_ids


def test_frequencies_follow_the_probabilities():
    prompt, count = PROMPTS[2], 4000
    with torch.no_grad():
        expected = POLICY.model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    found = engine(max_new_tokens=1).generate([Request(prompt, sample_seed("test", 0, 0, "p", i)) for i in range(count)])
    counted = torch.bincount(torch.tensor([completion.token_ids[0] for completion in found]), minlength=300)
    kept = expected * count >= 5
    chi2 = ((counted - expected * count) ** 2 / (expected * count))[kept].sum()
    degrees = int(kept.sum())
    assert chi2 < degrees + 5 * (2 * degrees) ** 0.5  # five standard deviations of chi-square


def test_stop_and_length():
    stop = POLICY.stop_ids[0]
    found = engine(max_new_tokens=200).generate([Request(prompt, i) for i, prompt in enumerate(PROMPTS * 8)])
    reasons = {completion.finish_reason for completion in found}
    assert reasons == {"stop", "length"}
    for completion in found:
        assert (completion.finish_reason == "stop") == (completion.token_ids[-1] == stop)
        assert stop not in completion.token_ids[:-1]
        assert len(completion.token_ids) <= 200
        assert len(completion.token_ids) == len(completion.logprobs)


def alone(policy: Policy, request: Request, length: int) -> tuple[list[int], list[float]]:
    """Tokens and log-probs of a request, sampled the slow way: every token from a plain forward over all that came before."""
    ids, logprobs = list(request.prompt_token_ids), []
    for uniform in np.random.Generator(np.random.Philox(key=request.seed)).random(length):
        with torch.no_grad():
            scores = policy.model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
        cumulative = scores.double().exp().cumsum(-1)
        ids.append(int(torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)))
        logprobs.append(scores[ids[-1]].item())
        if ids[-1] in policy.stop_ids:
            break
    return ids[len(request.prompt_token_ids) :], logprobs


@pytest.mark.parametrize("max_batch", [1, 5, 64])
def test_rows_that_leave_the_batch_change_no_other(max_batch: int):
    requests = [Request(prompt, i) for i, prompt in enumerate(PROMPTS * 6)]
    stopping = stopping_policy()
    found = TransformersEngine(stopping, SamplingConfig(1.0, 1.0, 0, 10), max_batch).generate(requests)
    assert len({len(completion.token_ids) for completion in found}) > 4  # they end at different lengths
    assert {completion.finish_reason for completion in found} == {"stop", "length"}
    for request, completion in zip(requests, found, strict=True):
        tokens, logprobs = alone(stopping, request, 10)
        assert list(completion.token_ids) == tokens
        torch.testing.assert_close(torch.tensor(completion.logprobs), torch.tensor(logprobs), atol=1e-5, rtol=1e-5)


def test_a_row_that_has_ended_is_forwarded_no_more():
    stopping, rows = stopping_policy(), []
    hook = stopping.model.register_forward_pre_hook(lambda *call: rows.append(len(call[2]["input_ids"])), with_kwargs=True)
    found = TransformersEngine(stopping, SamplingConfig(1.0, 1.0, 0, 10), 64).generate([Request(PROMPTS[i % 2], i) for i in range(20)])
    hook.remove()
    # Each distinct prompt once; then, for every token but the last possible one, the rows that have not ended before it.
    assert rows == [2] + [n for t in range(1, 10) if (n := sum(len(c.token_ids) > t for c in found))]


def stopping_policy() -> Policy:
    """The tiny policy with a fifth of its vocabulary as stop tokens, so that rows end early."""
    return Policy(POLICY.model, POLICY.tokenizer, tuple(range(1, 300, 5)), POLICY.pad_id)


@pytest.mark.parametrize("every", [3, 16, 100])
def test_looking_seldom_for_rows_that_have_ended_changes_no_response(every: int):
    """As on a GPU: rows that have ended read on until the next look, and what they read is cut off."""
    requests = [Request(prompt, i) for i, prompt in enumerate(PROMPTS * 6)]
    seldom = engine(max_new_tokens=60)
    seldom.look_every = every
    for a, b in zip(engine(max_new_tokens=60).generate(requests), seldom.generate(requests), strict=True):
        assert (a.token_ids, a.finish_reason) == (b.token_ids, b.finish_reason)
        torch.testing.assert_close(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prompts", [PROMPTS, [(5, 6, 7), (8, 9, 10)]], ids=["padded", "of one length"])
def test_a_mask_that_is_given_as_attention_takes_it_is_the_one_that_transformers_makes(prompts: list[tuple[int, ...]]):
    assert sees_all(POLICY.model)
    batch = collate([(prompt, ()) for prompt in prompts], POLICY.pad_id, POLICY.device)
    found = {}
    for direct in (False, True):
        context = Context(POLICY.model, batch)
        context.direct = direct
        with torch.inference_mode():
            logits = [context.read(batch.input_ids, batch.position_ids)]
            logits += [context.read_next(torch.full((len(prompts),), token)) for token in (30, 31, 32)]
        found[direct] = torch.stack(logits)
    torch.testing.assert_close(found[True], found[False], atol=1e-6, rtol=1e-6)
    assert context.padded == (prompts is PROMPTS)


def test_a_model_whose_layers_see_less_is_asked_as_ever():
    model = tiny_policy().model
    model.config.layer_types = ["full_attention", "sliding_attention"]
    assert not sees_all(model)
