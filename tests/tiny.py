"""A very small policy and the parts around it, for tests that need a real model and no learning."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch

from npo_pipeline.configuration.settings import GrpoConfig, SamplingConfig, ScratchConfig
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy import tiling
from npo_pipeline.policy.policy import Policy
from npo_pipeline.policy.scratch import build_scratch
from npo_pipeline.records import Slot, Trajectory

SCRATCH = ScratchConfig(32, 64, 2, 2, 1, 32, 300, 256, r"\d|[^\d]+")
SAMPLING = SamplingConfig(1.0, 1.0, 0, 12)


def tiny_policy(seed: int = 0) -> Policy:
    return build_scratch(["1 + 2 = 3", "4 + 5 = 9"], SCRATCH, seed)


def grpo(**changes: object) -> GrpoConfig:
    values = {
        "prompts_per_step": 4,
        "group_size": 4,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "adam_betas": [0.9, 0.95],
        "max_grad_norm": 1.0,
        "epochs": 1,
        "minibatches": 1,
        "advantage": "std",
        "advantage_eps": 1e-4,
        "aggregation": "response",
        "clip_low": 0.2,
        "clip_high": 0.28,
        "entropy_coef": 0.0,
        "kl_coef": 0.0,
        "engine_correction_cap": None,
        "micro_batch_tokens": 10_000,
    }
    return GrpoConfig(**values | changes)  # type: ignore[arg-type]


def random_slots(policy: Policy, count: int, seed: int = 0, spread: float = 0.5) -> list[Slot]:
    """Slots of random prompts and responses of 1 to 12 tokens; behaviour log-probs lie around the policy's own."""
    from npo_pipeline.policy.logprobs import score

    generator = torch.Generator().manual_seed(seed)
    length = lambda: int(torch.randint(1, 13, (1,), generator=generator))  # noqa: E731
    tokens = lambda: tuple(torch.randint(2, 300, (length(),), generator=generator).tolist())  # noqa: E731
    rows = [(tokens(), tokens()) for _ in range(count)]
    slots = []
    for i, ((prompt, response), logprobs) in enumerate(zip(rows, score(policy.model, rows, policy.pad_id, 1.0, 10_000), strict=True)):
        noise = (torch.randn(len(response), generator=generator) * spread).tolist()
        behaviour = tuple(a + b for a, b in zip(logprobs, noise, strict=True))
        trajectory = Trajectory(f"p{i // 4}", i % 4, prompt, response, behaviour, float(i % 3 == 0), i % 3 == 0, "stop", "")
        slots.append(Slot(trajectory, "guide", 9, "recorded"))
    return slots


@contextmanager
def small_tiles(width: int = 64) -> Iterator[None]:
    """Every vocabulary is cut into tiles, however small it is."""
    with patch.multiple(tiling, WHOLE=0, TILE_CPU=1, NARROWEST=width):
        yield


def caught_gradients(updater: Updater, slots: list[Slot], advantages: list[float]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of one update, caught before the optimizer takes them."""
    caught: dict[str, torch.Tensor] = {}
    step = updater.optimizer.step

    def catching(number: int) -> float:
        caught.update({name: p.grad.clone() for name, p in updater.policy.model.named_parameters()})
        return step(number)

    updater.optimizer.step = catching  # type: ignore[method-assign]
    return updater.update(slots, advantages, 0, 0).losses[0], caught
