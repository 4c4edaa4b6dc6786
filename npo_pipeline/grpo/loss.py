"""The surrogate losses, one small step each. Shapes are [B, T]: rows of a micro-batch, response tokens; 0 where padded."""

import torch
from torch import Tensor

SHAPING = 0.1  # gamma of LUFFY's policy shaping


def clipped_surrogate(
    logprobs_BT: Tensor, old_BT: Tensor, advantages_B: Tensor, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Token losses -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) with r = pi / pi_old, and which tokens the clip decided.

    PAPER, Setting; separate low and high clip as in DAPO (arXiv 2503.14476, eq. 10).
    """
    ratio = torch.exp(logprobs_BT - old_BT)
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    gain, gain_clipped = ratio * advantages_B[:, None], clipped * advantages_B[:, None]
    return -torch.minimum(gain, gain_clipped), gain_clipped < gain


def shaped_surrogate(logprobs_BT: Tensor, old_BT: Tensor, advantages_B: Tensor) -> Tensor:
    """Token losses -f(r) A with f(r) = r / (r + 0.1), never clipped: tokens that the policy finds unlikely keep their gradient.

    LUFFY (arXiv 2504.14945, policy shaping) with old = 0, so r = pi; ExGRPO with the recorded log-probs, so r = pi / pi_past.
    """
    ratio = torch.exp(logprobs_BT - old_BT)
    return -ratio / (ratio + SHAPING) * advantages_B[:, None]


def engine_correction(trainer_BT: Tensor, engine_BT: Tensor, cap: float) -> Tensor:
    """Weights min(pi_trainer / pi_engine, cap) of token losses: the engine sampled from a policy that is the trainer's up to rounding.

    Truncated importance sampling of Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training",
    as in verl (`rollout_is`) and TRL (`vllm_importance_sampling_correction`): the surrogate is weighed, KL and entropy terms are not.
    """
    return torch.exp(trainer_BT - engine_BT).clamp(max=cap)


def kl_to_reference(logprobs_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(pi || reference) per token: exp(d) - 1 - d with d = log reference - log pi; never negative."""
    difference = reference_BT - logprobs_BT
    return torch.exp(difference) - 1.0 - difference


def token_weights(mask_BT: Tensor, count: int, aggregation: str, constant: int) -> Tensor:
    """Weight of each token's loss so that the sum over all micro-batches of a batch of `count` is the batch's loss.

    `count` is the batch's responses, or for "token" their tokens: then every token weighs the same (DAPO, arXiv 2503.14476, eq. 8).

    "response": the mean over each response's tokens, then over responses. "constant": the sum over tokens divided by
    `constant` (the maximal response length), then the mean over responses (Dr. GRPO, arXiv 2503.20783).
    An empty response weighs nothing.
    """
    mask = mask_BT.float()
    if aggregation == "token":
        return mask / max(count, 1)
    divisor = mask.sum(dim=1, keepdim=True).clamp(min=1.0) if aggregation == "response" else float(constant)
    return mask / divisor / count
