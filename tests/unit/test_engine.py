"""The transformers engine: log-probs against a plain forward, seeds, stopping, and the distribution it samples."""

import torch
from tiny import tiny_policy

from npo_pipeline.config import SamplingConfig
from npo_pipeline.policy.logprobs import score
from npo_pipeline.rollout.engine import Request
from npo_pipeline.rollout.hf import TransformersEngine
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
