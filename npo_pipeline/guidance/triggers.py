"""AutoNPO's warning: training reward stagnates and entropy declines (PAPER, AutoNPO). Only the past is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

from npo_pipeline.config import AutoNpoConfig


@dataclass(frozen=True)
class Trend:
    """The moving averages after `step` steps; gain and drop are over the last `patience` of them."""

    step: int
    reward_ema: float
    entropy_ema: float
    reward_gain: float  # absolute
    entropy_drop: float  # relative to where it was
    warning: bool


def moving_average(values: Sequence[float], weight: float) -> list[float]:
    """Exponential moving average; the first value starts it."""
    averaged: list[float] = []
    for value in values:
        averaged.append(value if not averaged else weight * value + (1.0 - weight) * averaged[-1])
    return averaged


def trends(rewards: Sequence[float], entropies: Sequence[float], settings: AutoNpoConfig) -> list[Trend]:
    """One Trend per step from the first that has `patience` steps before it; each hangs on that step and earlier ones only.

    A warning: the reward's average gained less than `min_gain` and the entropy's fell by more than the share `entropy_drop`.
    """
    reward, entropy = moving_average(rewards, settings.ema), moving_average(entropies, settings.ema)
    return [
        _trend(reward[i - settings.patience : i + 1], entropy[i - settings.patience : i + 1], i + 1, settings)
        for i in range(settings.patience, len(reward))
    ]


def _trend(reward: Sequence[float], entropy: Sequence[float], step: int, settings: AutoNpoConfig) -> Trend:
    gain = reward[-1] - reward[0]
    drop = 1.0 - entropy[-1] / entropy[0] if entropy[0] > 0 else 0.0
    return Trend(step, reward[-1], entropy[-1], gain, drop, gain < settings.min_gain and drop > settings.entropy_drop)
