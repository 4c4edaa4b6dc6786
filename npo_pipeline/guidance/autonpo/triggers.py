"""AutoNPO's warning: training reward stagnates and entropy declines (PAPER, AutoNPO). Only the past is looked at."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from npo_pipeline.configuration.settings import AutoNpoConfig


@dataclass(frozen=True)
class Trend:
    """The moving averages after `step` steps; gain and drop are over the last `patience` of them."""

    step: int
    reward_ema: float
    entropy_ema: float
    reward_gain: float  # absolute
    entropy_drop: float  # relative to where it was
    warning: bool


class Watch:
    """Fed with one reward and one entropy per step, in the order of the steps: by a live run, or by a walk along a log.

    A warning: the reward's average gained less than `min_gain` and the entropy's fell by more than the share `entropy_drop`.
    """

    def __init__(self, settings: AutoNpoConfig) -> None:
        self.settings, self.step = settings, 0
        self._reward: deque[float] = deque(maxlen=settings.patience + 1)  # moving averages of the last steps
        self._entropy: deque[float] = deque(maxlen=settings.patience + 1)

    def see(self, reward: float | None, entropy: float | None) -> Trend | None:
        """The Trend after this step; None until there are `patience` steps of known reward before it.

        What is not known (of a step that was skipped for numbers that are not finite, or that no log tells) leaves the average as it was.
        """
        self.step += 1
        self._average(self._reward, reward)
        self._average(self._entropy, entropy)
        if len(self._reward) <= self.settings.patience or not self._entropy:
            return None
        gain = self._reward[-1] - self._reward[0]
        drop = 1.0 - self._entropy[-1] / self._entropy[0] if self._entropy[0] > 0 else 0.0
        warning = gain < self.settings.min_gain and drop > self.settings.entropy_drop
        return Trend(self.step, self._reward[-1], self._entropy[-1], gain, drop, warning)

    def _average(self, averages: deque[float], value: float | None) -> None:
        """Exponential moving average; the first known value starts it."""
        weight = self.settings.ema
        if value is not None:
            averages.append(weight * value + (1.0 - weight) * averages[-1] if averages else value)
        elif averages:
            averages.append(averages[-1])


def trends(rewards: Sequence[float | None], entropies: Sequence[float | None], settings: AutoNpoConfig) -> list[Trend]:
    """One Trend per step from the first that has `patience` steps before it; each hangs on that step and earlier ones only."""
    watch = Watch(settings)
    seen = [watch.see(reward, entropy) for reward, entropy in zip(rewards, entropies, strict=True)]
    return [trend for trend in seen if trend]
