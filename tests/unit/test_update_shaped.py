"""The losses of LUFFY, ExGRPO and RLEP, as whole updates, against an independent re-derivation in float64."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from tiny import SAMPLING, grpo, random_slots, tiny_policy

from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Slot

ADVANTAGES = [0.75, -0.25, -0.25, -0.25, 0.5, -0.5, -0.5, 0.5]


def token_logprobs(model, slot: Slot) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs and entropies of one row's response tokens by a plain forward, without padding."""
    trajectory = slot.trajectory
    ids = torch.tensor([[*trajectory.prompt_token_ids, *trajectory.response_token_ids]])
    start = len(trajectory.prompt_token_ids) - 1
    full = model(input_ids=ids).logits[0, start:-1].log_softmax(-1)
    chosen = full.gather(1, torch.tensor(trajectory.response_token_ids)[:, None]).squeeze(1)
    return chosen, -(full.exp() * full).sum(-1)


def expected_loss(policy: Policy, slots: list[Slot], constant: int | None, entropy_coef: float) -> torch.Tensor:
    """Each formula written out; the first update of a batch, so the policy is its own denominator on policy."""
    model = copy.deepcopy(policy.model).double()
    total = torch.zeros((), dtype=torch.float64)
    for slot, advantage in zip(slots, ADVANTAGES, strict=True):
        logprobs, entropy = token_logprobs(model, slot)
        recorded = torch.tensor(slot.trajectory.behaviour_logprobs, dtype=torch.float64)
        denominator = {"policy": logprobs.detach(), "shaped": torch.zeros_like(recorded), "shaped_recorded": recorded}[slot.ratio]
        ratio = (logprobs - denominator).exp()
        gain = ratio / (ratio + 0.1) if slot.ratio.startswith("shaped") else ratio
        tokens = -gain * advantage - entropy_coef * entropy
        total = total + tokens.sum() / (constant or len(tokens)) / len(slots)
    total.backward()
    expected_loss.gradient = {name: p.grad for name, p in model.named_parameters()}  # type: ignore[attr-defined]
    return total


@pytest.mark.parametrize("ratio", ["shaped", "shaped_recorded", "policy"])
@pytest.mark.parametrize(("aggregation", "entropy_coef"), [("constant", 0.001), ("response", 0.0)])
def test_a_mixed_batch_equals_float64(ratio: str, aggregation: str, entropy_coef: float):
    policy = tiny_policy()
    slots = random_slots(policy, 8)
    slots = [replace(slot, ratio=ratio) if i % 4 == 3 else Slot(slot.trajectory) for i, slot in enumerate(slots)]
    settings = grpo(aggregation=aggregation, entropy_coef=entropy_coef, clip_low=1.0, clip_high=math.inf)
    constant = SAMPLING.max_new_tokens if aggregation == "constant" else None
    expected = expected_loss(policy, slots, constant, entropy_coef)
    updater = Updater(policy, settings, SAMPLING)
    caught: dict[str, torch.Tensor] = {}

    def catching(number: int) -> float:
        caught.update({name: p.grad.clone() for name, p in policy.model.named_parameters()})
        return 0.0

    updater.optimizer.step = catching  # type: ignore[method-assign]
    result = updater.update(slots, ADVANTAGES, 0, 0)
    assert math.isclose(result.losses[0], expected.item(), rel_tol=1e-4, abs_tol=1e-6)
    for name, gradient in expected_loss.gradient.items():  # type: ignore[attr-defined]
        torch.testing.assert_close(caught[name], gradient.float(), atol=2e-6, rtol=1e-3)


def test_shaped_slots_are_never_counted_as_clipped():
    policy = tiny_policy()
    slots = [replace(slot, ratio="shaped") for slot in random_slots(policy, 8)]
    assert Updater(policy, grpo(), SAMPLING).update(slots, ADVANTAGES, 0, 0).clipped_tokens == 0
