"""A run of a tiny policy with a checkpoint every two steps, and copies of its weights: for tests of the checkpoint store."""

from pathlib import Path

import torch
from tiny import tiny_policy
from torch import Tensor
from transformers import AutoModelForCausalLM

from npo_pipeline.policy.checkpoints import CheckpointWriter
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.policy import Policy, as_policy

STEPS, KEY_EVERY = range(0, 14, 2), 3
Kept = dict[int, dict[str, Tensor]]


def policy_of(dtype: torch.dtype, tied: bool = True) -> Policy:
    policy = tiny_policy()
    config = policy.model.config
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    return as_policy(AutoModelForCausalLM.from_config(config, dtype=dtype), policy.tokenizer)


@torch.no_grad()
def train(policy: Policy, step: int, share: float) -> None:
    """Change this share of the weights a little."""
    generator = torch.Generator().manual_seed(step)
    for parameter in filter(lambda parameter: parameter.requires_grad, policy.model.parameters()):
        moved = torch.rand(parameter.shape, generator=generator) < share
        parameter.mul_(torch.where(moved, 1.01, 1.0))


def write_run(run: Path, policy: Policy, share: float, steps: range = STEPS) -> Kept:
    """A run with a checkpoint at each of the steps; the weights as they were then."""
    writer, kept = CheckpointWriter(policy, run, KEY_EVERY), {}
    writer.resume(steps.start, set(STEPS))
    for step in steps:
        kept[step] = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
        writer.put(step, identity(policy))
        train(policy, step, share)
    writer.wait()
    writer.close()
    return kept
