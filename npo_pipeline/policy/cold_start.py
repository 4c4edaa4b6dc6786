"""The cold start: a short supervised fine-tuning on reference answers, so that GRPO finds something to reward."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from npo_pipeline.configuration.settings import ColdStartConfig
from npo_pipeline.policy.logprobs import Sequences, collate, micro_batches, response_logprobs
from npo_pipeline.policy.policy import Policy
from npo_pipeline.progress import Progress

MICRO_BATCH_TOKENS = 8192


def cold_start(policy: Policy, rows: Sequences, settings: ColdStartConfig, seed: int) -> float:
    """Minimise the mean negative log-likelihood per response token over `rows`; returns the last step's loss in nats.

    Rows are drawn without replacement, epoch by epoch; the learning rate falls linearly to a tenth. A bfloat16 policy is trained in
    float32, or most of its weights would never change, and rounded back.
    """
    dtype = policy.model.dtype
    policy.model.float()
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, settings.steps)
    order = _endless_order(len(rows), settings.steps * settings.batch_size, seed)
    loss = torch.tensor(float("nan"))
    for step in Progress("cold start", settings.steps):
        picked = order[step * settings.batch_size : (step + 1) * settings.batch_size]
        optimizer.zero_grad(set_to_none=True)
        loss = _accumulate(policy, [rows[i] for i in picked])
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    policy.model.to(dtype)
    return loss.item()


def _accumulate(policy: Policy, rows: Sequences) -> Tensor:
    """The loss, which stays on its device: nobody waits for it."""
    tokens = sum(len(response) for _, response in rows)
    total = torch.zeros((), dtype=torch.float64, device=policy.device)
    for batch in micro_batches([(len(prompt), len(response)) for prompt, response in rows], MICRO_BATCH_TOKENS):
        logprobs, _ = response_logprobs(policy.model, collate([rows[i] for i in batch], policy.pad_id, policy.device), 1.0)
        loss = -logprobs.sum() / tokens
        loss.backward()
        total += loss.detach()
    return total


def _endless_order(rows: int, needed: int, seed: int) -> Sequence[int]:
    generator = np.random.default_rng(seed)
    epochs = -(-needed // rows)
    return [int(i) for _ in range(epochs) for i in generator.permutation(rows)]
