"""A guide that moves ahead of the run (npo_rolling): at step t the first guide checkpoint at t + distance or later, throughout."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from npo_pipeline.configuration.grid import as_steps
from npo_pipeline.configuration.settings import Place, StepLike, WindowConfig
from npo_pipeline.configuration.stages import PlanStage
from npo_pipeline.configuration.windows import from_start
from npo_pipeline.context import Context
from npo_pipeline.errors import ConfigError
from npo_pipeline.guidance.methods import Planned

if TYPE_CHECKING:
    from npo_pipeline.guidance.schedule import Schedule


@dataclass
class RollingConfig:
    distance: StepLike  # Delta: at step t the guide is the first guide checkpoint at t + Delta or later, so long as there is one


@dataclass
class Method(Planned):
    rolling: RollingConfig = field(kw_only=True)

    def resolved(self, key: str, place: Place) -> Self:
        """Its windows are laid out with the configuration."""
        distance = as_steps(self.rolling.distance, place.steps, f"{key}.rolling.distance", least=1)
        windows = laid_out(f"{key}.rolling", distance, place.guides, place.lookback)
        return replace(self, rolling=RollingConfig(distance), windows=from_start(f"{key}.rolling", windows, place.start))

    def plan(self, context: Context[PlanStage]) -> "Schedule":
        from npo_pipeline.guidance.schedule import of_windows

        name = context.config.name
        return of_windows(name, self, f"configured in method.{name}.rolling")


def laid_out(key: str, distance: int, guides: list[int], lookback: int) -> list[WindowConfig]:
    """The windows of all guides; the last one's is to the end. Raises ConfigError for a short lookback."""
    starts = [0, *(max(0, guide - distance + 1) for guide in guides[:-1])]
    ends = [*starts[1:], guides[-1]]
    windows = [WindowConfig(a, b, guide) for a, b, guide in zip(starts, ends, guides, strict=True) if a < b]
    reach = max(window.guide_step - window.from_step for window in windows)
    if reach > lookback:
        raise ConfigError(
            f"{key}.distance={distance}: with guide checkpoints at {', '.join(map(str, guides))} a guide must reach back {reach} steps, "
            f"but guidance.lookback is {lookback}; raise that, or lower the distance or guidance.every"
        )
    return windows
