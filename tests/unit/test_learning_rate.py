"""The learning rate of each step: against torch's own schedulers, and the same for a resumed run."""

import pytest
import torch
from tiny import grpo

from npo_pipeline.grpo.learning_rate import Warmup, learning_rate

STEPS, WARM, RATE, FLOOR = 23, 5, 3e-3, 0.1


def by_torch(kind: str) -> list[float]:
    """Warm-up and decay as torch.optim.lr_scheduler chains them."""
    schedulers = torch.optim.lr_scheduler
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    length = STEPS - 1 - WARM
    later = {
        "constant": lambda: schedulers.ConstantLR(optimizer, factor=1.0),
        "linear": lambda: schedulers.LinearLR(optimizer, 1.0, FLOOR, length),
        "cosine": lambda: schedulers.CosineAnnealingLR(optimizer, length, eta_min=FLOOR * RATE),
    }[kind]()
    warm = schedulers.LinearLR(optimizer, 1.0 / WARM, 1.0, WARM - 1)
    found = []
    for step in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        (warm if step < WARM - 1 else later).step() if step != WARM - 1 else None
    return found


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_warm_up_and_decay_are_torchs(kind: str) -> None:
    settings = grpo(learning_rate=RATE, warmup_steps=WARM, lr_schedule=kind, lr_floor=0.0 if kind == "constant" else FLOOR)
    found = [learning_rate(settings, step, STEPS) for step in range(STEPS)]
    assert found == pytest.approx(by_torch(kind), rel=1e-9)
    assert found[-1] == pytest.approx(RATE * (1.0 if kind == "constant" else FLOOR))


def test_a_short_run_never_leaves_the_range() -> None:
    for steps in (1, 2, 5, 6):
        for kind in ("linear", "cosine"):
            rates = [learning_rate(grpo(learning_rate=1.0, warmup_steps=5, lr_schedule=kind), step, steps) for step in range(steps)]
            assert all(0.0 <= rate <= 1.0 for rate in rates)


def test_fresh_moments_in_the_middle_warm_up_and_then_change_nothing() -> None:
    settings = grpo(learning_rate=1e-3, lr_schedule="linear", lr_floor=0.1)
    plain = [learning_rate(settings, step, 100) for step in range(100)]
    begun = [learning_rate(settings, step, 100, Warmup(40, 4)) for step in range(40, 100)]
    assert begun[:4] == pytest.approx([share * rate for share, rate in zip((0.25, 0.5, 0.75, 1.0), plain[40:44], strict=True)])
    assert begun[4:] == plain[44:]
    assert learning_rate(settings, 40, 100, Warmup(40, 0)) == plain[40]
