"""The numbers of one step, under the field's own names. Rewards and accuracy are of the policy's own samples, always."""

import math
from collections.abc import Sequence
from typing import Any

from npo_pipeline.grpo.dynamic import Filled, teaches
from npo_pipeline.grpo.mixer import Mixed
from npo_pipeline.grpo.update import UpdateResult
from npo_pipeline.records import Group, Trajectory

GROSS = 1.0  # nats
LARGEST_EXPONENT = 700.0  # exp of more overflows


def step_metrics(groups: Sequence[Group], mixed: Mixed, result: UpdateResult, filled: Filled | None = None) -> dict[str, Any]:
    """`groups` as sampled, `mixed` as trained on: what was injected shows in guide/* and nowhere else.

    Rewards are of the problem order's own groups, so that runs with and without dynamic sampling compare, and of the samples that were
    not held back: which of the others are the policy's own hangs on those. Tokens are of all groups.
    A number that is not finite is None: JSON has no other word for it.
    """
    further = filled.further if filled else ()
    sampled = [slot.trajectory for group in (*groups, *further) for slot in group.slots] + list(mixed.own)
    metrics = (
        _reward_metrics(groups)
        | _completion_metrics(sampled)
        | _guide_metrics(mixed)
        | _policy_metrics(mixed.groups, result)
        | _update_metrics(result)
        | dict(mixed.metrics)
        | (_dynamic_metrics(filled) if filled else {})
    )
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in metrics.items()}


def _reward_metrics(groups: Sequence[Group]) -> dict[str, Any]:
    spreads = [_spread([slot.trajectory.reward for slot in group.slots]) for group in groups]
    return {
        "reward/mean": _mean([group.reward_mean for group in groups]),
        "reward/std": _mean(spreads),
        "accuracy": _mean([group.accuracy for group in groups]),
        "groups/all_wrong": _mean([float(group.accuracy == 0.0) for group in groups]),
        "groups/all_right": _mean([float(group.accuracy == 1.0) for group in groups]),
    }


def _completion_metrics(sampled: Sequence[Trajectory]) -> dict[str, Any]:
    lengths = [len(trajectory.response_token_ids) for trajectory in sampled]
    return {
        "completions/mean_length": _mean(lengths),
        "completions/truncated": _mean([float(trajectory.finish_reason == "length") for trajectory in sampled]),
        "completions/tokens": sum(lengths),
    }


def _guide_metrics(mixed: Mixed) -> dict[str, Any]:
    slots = [(group.problem.problem_id, slot) for group in mixed.groups for slot in group.slots if slot.source == "guide"]
    injected = [(problem_id, slot.guide_step) for problem_id, slot in slots if slot.trajectory.verified]
    steps = {step for _, step in injected}
    return {
        "guide/injected": len(injected),
        "guide/step": steps.pop() if len(steps) == 1 else None,  # None where there are several, or an external teacher
        "guide/tokens": mixed.sampled_tokens,
        "guide/problem_ids": list(dict.fromkeys(problem_id for problem_id, _ in injected)),
    }


def _dynamic_metrics(filled: Filled) -> dict[str, Any]:
    """Of dynamic sampling: in how many rounds, how many, and which share of the batch teaches in the end."""
    taught = _mean([float(teaches(group)) for group in filled.kept])
    return {"dynamic/rounds": filled.rounds, "dynamic/groups": len(filled.further), "dynamic/teaching": taught}


def _policy_metrics(mixed: Sequence[Group], result: UpdateResult) -> dict[str, Any]:
    """Entropy and trainer-engine gap over the tokens that the policy itself sampled; `kl` is k3's KL(engine || trainer) per token.

    `gross` is the share of tokens on which the two differ by more than GROSS.
    """
    slots = [slot for group in mixed for slot in group.slots]
    own = [i for i, slot in enumerate(slots) if slot.source == "on_policy"]
    tokens = sum(len(slots[i].trajectory.response_token_ids) for i in own)
    gaps = [
        trained - sampled
        for i in own
        for trained, sampled in zip(result.measured.logprobs[i], slots[i].trajectory.behaviour_logprobs, strict=True)
    ]
    return {
        "entropy": sum(result.measured.entropy[i] for i in own) / max(tokens, 1),
        "logprob_gap/mean": _mean([abs(gap) for gap in gaps]),
        "logprob_gap/max": max(map(abs, gaps), default=0.0),
        "logprob_gap/kl": _mean([math.expm1(min(gap, LARGEST_EXPONENT)) - gap for gap in gaps]),
        "logprob_gap/gross": _mean([float(not abs(gap) <= GROSS) for gap in gaps]),
    }


def _update_metrics(result: UpdateResult) -> dict[str, Any]:
    """`loss` and `grad_norm` are None where every optimizer step was skipped."""
    tokens = max(result.tokens, 1)
    return {
        "loss": _mean(result.losses) if result.losses else None,
        "grad_norm": _mean(result.grad_norms) if result.losses else None,
        "update/skipped": len(result.skipped),
        "clip_ratio/region_mean": result.clipped_tokens / tokens,
        "kl": result.kl_sum / tokens,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _spread(values: Sequence[float]) -> float:
    """Population standard deviation."""
    mean = _mean(values)
    return _mean([(value - mean) ** 2 for value in values]) ** 0.5
