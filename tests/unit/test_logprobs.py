"""Log-probs of batches against a plain forward of each sequence alone, in float64."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import random_slots, tiny_policy

from npo_pipeline.policy.logprobs import collate, micro_batches, response_logprobs, score

POLICY = tiny_policy()
ROWS = [(slot.trajectory.prompt_token_ids, slot.trajectory.response_token_ids) for slot in random_slots(POLICY, 12)]


def plain(prompt: tuple[int, ...], response: tuple[int, ...], temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs and entropy per response token, from one unpadded sequence."""
    with torch.no_grad():
        logits = POLICY.model(torch.tensor([[*prompt, *response]])).logits[0].double() / temperature
    logprobs = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
    return logprobs.gather(1, torch.tensor(response)[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(dim=-1)


def test_batch_equals_each_sequence_alone():
    for temperature in (1.0, 0.7):
        logprobs, entropy = response_logprobs(POLICY.model, collate(ROWS, POLICY.pad_id, POLICY.device), temperature)
        for i, (prompt, response) in enumerate(ROWS):
            expected, expected_entropy = plain(prompt, response, temperature)
            torch.testing.assert_close(logprobs[i, : len(response)].double(), expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(entropy[i, : len(response)].double(), expected_entropy, atol=1e-5, rtol=1e-5)
            assert logprobs[i, len(response) :].abs().sum() == 0
            assert entropy[i, len(response) :].abs().sum() == 0


def test_any_cut_gives_the_same():
    whole = score(POLICY.model, ROWS, POLICY.pad_id, 1.0, 10_000)
    for budget in (1, 40, 100):
        for a, b in zip(whole, score(POLICY.model, ROWS, POLICY.pad_id, 1.0, budget), strict=True):
            torch.testing.assert_close(torch.tensor(a), torch.tensor(b), atol=1e-5, rtol=1e-5)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=40), st.integers(1, 400))
def test_micro_batches_keep_every_row_within_the_budget(lengths: list[tuple[int, int]], budget: int):
    batches = list(micro_batches(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        width = max(lengths[i][0] for i in batch) + max(lengths[i][1] for i in batch)
        assert len(batch) == 1 or width * len(batch) <= budget


def test_an_empty_response_is_a_row_of_zeros():
    logprobs, _ = response_logprobs(POLICY.model, collate([((5, 6), ()), ((5,), (7, 8))], POLICY.pad_id, POLICY.device), 1.0)
    assert logprobs[0].abs().sum() == 0
    assert torch.isfinite(logprobs).all()


def test_rows_that_share_a_prompt_have_the_log_probs_and_gradient_of_each_alone():
    pad = POLICY.pad_id
    prompts = [(5, 6, 7), (pad, 5, 6), (5, 6)]  # the last, padded, has the ids of the second
    rows = [(prompts[i % 3], response) for i, (_, response) in enumerate(ROWS)]
    read: list[int] = []
    hook = POLICY.model.register_forward_pre_hook(lambda *call: read.append(call[2]["input_ids"].shape[0]), with_kwargs=True)
    together = weighted_gradient([rows])
    hook.remove()
    assert read == [3, len(rows)]
    for (prompt, response), logprobs in zip(rows, score(POLICY.model, rows, pad, 1.0, 10_000), strict=True):
        torch.testing.assert_close(torch.tensor(logprobs).double(), plain(prompt, response, 1.0)[0], atol=1e-5, rtol=1e-5)
    for a, b in zip(together, weighted_gradient([[row] for row in rows]), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def weighted_gradient(batches: list[list[tuple[tuple[int, ...], tuple[int, ...]]]]) -> list[torch.Tensor]:
    """Gradient of a sum over log-probs in which every token has a weight of its own, all batches together."""
    for batch in batches:
        logprobs, _ = response_logprobs(POLICY.model, collate(batch, POLICY.pad_id, POLICY.device), 1.0)
        weights = torch.arange(1.0, logprobs.shape[1] + 1) / sum(map(len, (response for _, response in ROWS)))
        (logprobs * weights).sum().backward()
    gradient = [parameter.grad.clone() for parameter in POLICY.model.parameters()]
    POLICY.model.zero_grad(set_to_none=True)
    return gradient
