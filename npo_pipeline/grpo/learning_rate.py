"""The learning rate of a step, a pure function of the step and of the run's length: so a resumed run needs no saved schedule."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from npo_pipeline.configuration.settings import GrpoConfig

# The share of the way from the full rate (1) to the floor (0), after a share `passed` of the decay.
DECAYS: dict[str, Callable[[float], float]] = {
    "constant": lambda passed: 1.0,
    "linear": lambda passed: 1.0 - passed,
    "cosine": lambda passed: (1.0 + math.cos(math.pi * passed)) / 2.0,
}


@dataclass(frozen=True)
class Warmup:
    """Of a run that begins at step `start` with fresh moments: the rate rises linearly over `steps` steps to what it would be."""

    start: int
    steps: int

    def share(self, step: int) -> float:
        return min(1.0, (step - self.start + 1) / self.steps) if self.steps else 1.0


def learning_rate(settings: GrpoConfig, step: int, steps: int, fresh: Warmup | None = None) -> float:
    """Linear warm-up over `warmup_steps`, then down to `lr_floor` times the full rate, which the last of `steps` steps has."""
    return _scheduled(settings, step, steps) * (fresh.share(step) if fresh else 1.0)


def _scheduled(settings: GrpoConfig, step: int, steps: int) -> float:
    warm = settings.warmup_steps
    if step < warm:
        return settings.learning_rate * ((step + 1) / warm)
    passed = min(1.0, (step - warm) / max(1, steps - 1 - warm))
    left = DECAYS[settings.lr_schedule](passed)
    return settings.learning_rate * (settings.lr_floor + (1.0 - settings.lr_floor) * left)
