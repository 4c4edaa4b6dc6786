"""The measured variance against brute force, and the gradients of mixed groups against the trainer's own loss."""

import math

import numpy as np
import pytest
import tiny
import torch

from npo_pipeline.analysis.measurement.gradient_variance import Moments, advantages_with, growth, mixed, moments, noise, variance, wilson
from npo_pipeline.analysis.measurement.slot_gradients import Sketch, SlotGradients
from npo_pipeline.grpo.loss import clipped_surrogate, token_weights
from npo_pipeline.policy.logprobs import collate, response_logprobs


def drawn(problems: int, seed: int, width: int = 5, spread: float = 1.0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(random.normal(size=width), spread, (int(random.integers(1, 5)), width)) for _ in range(problems)]


def test_the_variance_is_half_the_mean_squared_difference_of_two_problems_draws() -> None:
    gradients = drawn(7, seed=1)
    pairs = [
        0.5 * np.mean([((a - b) ** 2).sum() for a in gradients[x] for b in gradients[y]]) for x in range(7) for y in range(7) if x != y
    ]
    assert variance(moments(gradients)) == pytest.approx(np.mean(pairs))


def test_the_variance_and_noise_of_a_known_distribution() -> None:
    random = np.random.default_rng(0)
    gradients = [random.normal(1.0, 2.0, (3, 4)) + random.normal(0.0, 1.0, 4) for _ in range(4000)]
    found = moments(gradients)
    assert variance(found) == pytest.approx(4 * (4.0 + 1.0), rel=0.05)
    assert noise(found) == pytest.approx(20.0 / 4.0, rel=0.1)
    assert math.isnan(variance(moments(gradients[:1])))


def test_a_resample_counts_its_problems() -> None:
    gradients = drawn(4, seed=2)
    numerator, denominator = moments([2.0 * g for g in gradients]), moments(gradients)
    assert growth(numerator, denominator, 200, 0.95) == pytest.approx((4.0, 4.0, 4.0))
    nothing = Moments(np.zeros(4), np.zeros((4, 5)))
    assert all(map(math.isnan, growth(denominator, nothing, 200, 0.95)))


def test_mixing_takes_every_pair_of_group_and_guide_slot() -> None:
    base, slot, scale = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 2.0], [4.0, 0.0]]), np.array([1.0, 0.5])
    (found,) = mixed([base], [slot], [scale])
    assert found.tolist() == [[3.0, 2.0], [5.0, 0.0], [1.0, 2.0], [2.0, 1.0]]


def softmax_terms(policy: np.ndarray, guide: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Importance-weighted policy gradient of one-token responses of a softmax policy over its logits, reward = the action's number."""
    advantages = actions - policy @ np.arange(len(policy))
    return (policy[actions] / guide[actions] * advantages)[:, None] * (np.eye(len(policy))[actions] - policy)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_the_growth_over_a_softmax_policy_is_the_one_by_enumeration(shift: float) -> None:
    """Without a shift the ratio is exactly 1 and V is near 1; with it V is what summing over all actions gives."""
    random, logits = np.random.default_rng(3), np.array([0.0, 0.5, -0.5])
    policy, guide = (np.exp(x) / np.exp(x).sum() for x in (logits, logits + shift * np.arange(3)))

    def exact(source: np.ndarray) -> float:
        terms = softmax_terms(policy, source, np.arange(3))
        return float(source @ (terms**2).sum(axis=1) - ((source @ terms) ** 2).sum())

    sampled = [moments([softmax_terms(policy, source, random.choice(3, 40, p=source)) for _ in range(500)]) for source in (guide, policy)]
    value, low, high = growth(*sampled, 200, 0.95)
    assert value == pytest.approx(exact(guide) / exact(policy), rel=0.05)
    assert low < value < high


def test_the_group_gradient_is_that_of_the_trainers_loss() -> None:
    """Base and guide slot, put together, are one backward through the loss of the whole mixed group."""
    policy, settings = tiny.tiny_policy(), tiny.grpo()
    group = [slot.trajectory for slot in tiny.random_slots(policy, 4)]
    rewards, gradients = [1.0, 0.0, 0.0, 0.0], SlotGradients(policy, settings, tiny.SAMPLING)
    advantages = advantages_with(rewards, 1.0, settings)
    slots, ratios = gradients.guide(group[-1])

    batch = collate([(t.prompt_token_ids, t.response_token_ids) for t in group], policy.pad_id, policy.device)
    logprobs, _ = response_logprobs(policy.model, batch, 1.0)
    old = logprobs.detach().clone()
    length = len(group[-1].response_token_ids)
    assert ratios == pytest.approx((old[-1, :length] - torch.tensor(group[-1].behaviour_logprobs)).tolist(), abs=1e-5)
    old[-1, :length] = torch.tensor(group[-1].behaviour_logprobs)
    weights = token_weights(batch.response_mask, 4, settings.aggregation, 12)
    for kind, clip in (("importance", (1.0, math.inf)), ("clipped", (0.2, 0.28))):
        losses, _ = clipped_surrogate(logprobs, old, torch.tensor(advantages), *clip)
        whole = gradients.sketch.gradient((losses * weights).sum(), keep_graph=True)
        parts = gradients.on_policy(group[:-1], advantages[:-1]) + advantages[-1] * slots[kind]
        np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_a_guide_that_is_the_policy_itself_needs_no_correction() -> None:
    policy = tiny.tiny_policy()
    (slot,) = tiny.random_slots(policy, 1, spread=0.0)
    slots, _ = SlotGradients(policy, tiny.grpo(), tiny.SAMPLING).guide(slot.trajectory)
    for kind in ("importance", "clipped"):
        np.testing.assert_allclose(slots[kind], slots["uncorrected"], atol=1e-5)


def test_a_sketch_keeps_norms_and_inner_products() -> None:
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.zeros(100_000))
    sketch = Sketch([parameter])
    a, b = torch.randn(100_000), torch.randn(100_000)
    first, second = (sketch.gradient((parameter * vector).sum()) for vector in (a, a + 0.5 * b))
    assert first @ first == pytest.approx(float(a @ a), rel=0.04)
    assert first @ second == pytest.approx(float(a @ (a + 0.5 * b)), rel=0.04)


def test_advantages_of_a_group_with_a_success_in_its_last_place() -> None:
    settings = tiny.grpo()
    assert advantages_with([0.0, 0.0, 0.0, 0.0], None, settings) == [0.0] * 4
    assert advantages_with([0.0, 0.0, 0.0, 0.0], 1.0, settings) == pytest.approx([-0.5, -0.5, -0.5, 1.5], rel=1e-3)


def test_wilsons_interval() -> None:
    assert wilson(5, 10, 0.95) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 10, 0.95) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert all(map(math.isnan, wilson(0, 0, 0.95)))
