"""Surrogate losses against numbers worked by hand and a float64 re-derivation, token by token."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from npo_pipeline.grpo.loss import clipped_surrogate, kl_to_reference, shaped_surrogate, token_weights

nats = st.floats(-3.0, 0.0)


def test_clip_by_hand():
    # Ratios 1.5, 0.5, 1.5, 0.5 with clip 0.2 / 0.28. A > 0: min(1.5, 1.28), min(0.5, 0.8). A < 0: min(-1.5, -1.28), min(-0.5, -0.8).
    logprobs = torch.log(torch.tensor([[1.5, 0.5], [1.5, 0.5]]))
    losses, clipped = clipped_surrogate(logprobs, torch.zeros(2, 2), torch.tensor([1.0, -1.0]), 0.2, 0.28)
    torch.testing.assert_close(losses, torch.tensor([[-1.28, -0.5], [1.5, 0.8]]))
    assert clipped.tolist() == [[True, False], [False, True]]


@given(nats, nats, st.floats(-2.0, 2.0))
def test_surrogate_equals_float64(new: float, old: float, advantage: float):
    ratio = math.exp(new - old)
    expected = -min(ratio * advantage, min(max(ratio, 0.8), 1.28) * advantage)
    losses, _ = clipped_surrogate(torch.tensor([[new]]), torch.tensor([[old]]), torch.tensor([advantage]), 0.2, 0.28)
    assert math.isclose(losses.item(), expected, rel_tol=2e-5, abs_tol=1e-6)


@given(nats, nats)
def test_kl_is_never_negative_and_zero_where_equal(new: float, reference: float):
    assert kl_to_reference(torch.tensor(new), torch.tensor(reference)).item() >= -1e-6
    assert kl_to_reference(torch.tensor(new), torch.tensor(new)).item() == 0.0


def test_kl_is_unbiased():
    p, q = torch.tensor([0.7, 0.3]).log(), torch.tensor([0.4, 0.6]).log()
    expected = (p.exp() * (p - q)).sum()
    torch.testing.assert_close((p.exp() * kl_to_reference(p, q)).sum(), expected)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=6), st.sampled_from(["response", "constant"]))
def test_weights_do_not_hang_on_the_cut(lengths: list[int], aggregation: str):
    whole = torch.tensor([[i < length for i in range(5)] for length in lengths])
    weights = token_weights(whole, len(lengths), aggregation, 5)
    pieces = [token_weights(whole[i : i + 1, : max(lengths[i], 1)], len(lengths), aggregation, 5).sum() for i in range(len(lengths))]
    torch.testing.assert_close(weights.sum(), torch.stack(pieces).sum())


def test_response_mean_and_constant_by_hand():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    torch.testing.assert_close(token_weights(mask, 2, "response", 3), torch.tensor([[0.25, 0.25, 0.0], [0.5, 0.0, 0.0]]))
    torch.testing.assert_close(token_weights(mask, 2, "constant", 4), torch.tensor([[0.125, 0.125, 0.0], [0.125, 0.0, 0.0]]))
    torch.testing.assert_close(token_weights(mask, 3, "token", 4), torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]) / 3)


def test_empty_response_weighs_nothing():
    assert token_weights(torch.zeros(1, 3, dtype=torch.bool), 1, "response", 3).sum() == 0.0


@given(nats, nats, st.floats(-2.0, 2.0))
def test_shaped_surrogate_and_its_gradient_equal_float64(new: float, old: float, advantage: float):
    # f(r) = r / (r + g): df/dlogpi = f'(r) r = g r / (r + g)^2, which never falls to 0 within any clip range.
    ratio = math.exp(new - old)
    logprobs = torch.tensor([[new]], requires_grad=True)
    loss = shaped_surrogate(logprobs, torch.tensor([[old]]), torch.tensor([advantage]))
    loss.sum().backward()
    assert math.isclose(loss.item(), -ratio / (ratio + 0.1) * advantage, rel_tol=2e-5, abs_tol=1e-6)
    assert math.isclose(logprobs.grad.item(), -0.1 * ratio / (ratio + 0.1) ** 2 * advantage, rel_tol=1e-4, abs_tol=1e-6)


def test_shaping_lifts_unlikely_tokens_by_hand():
    # LUFFY's r is the probability itself: 0.01 -> 0.01/0.11, 1.0 -> 1/1.1. Their gradients: 0.1*0.01/0.0121, 0.1/1.21.
    logprobs = torch.log(torch.tensor([[0.01, 1.0]])).requires_grad_()
    losses = shaped_surrogate(logprobs, torch.zeros(1, 2), torch.tensor([1.0]))
    losses.sum().backward()
    torch.testing.assert_close(losses, torch.tensor([[-0.0909091, -0.9090909]]))
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-0.0826446, -0.0826446]]))


@given(nats, nats, st.floats(-2.0, 2.0))
def test_a_clip_of_one_and_infinity_never_clips(new: float, old: float, advantage: float):
    losses, clipped = clipped_surrogate(torch.tensor([[new]]), torch.tensor([[old]]), torch.tensor([advantage]), 1.0, math.inf)
    assert math.isclose(losses.item(), -math.exp(new - old) * advantage, rel_tol=2e-5, abs_tol=1e-6)
    assert not clipped.any()
