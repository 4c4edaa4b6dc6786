"""The windows and other steps of a method: fractions become whole steps, and windows are fitted to the guide checkpoints."""

from dataclasses import dataclass, replace
from itertools import pairwise

from npo_pipeline.configuration.grid import as_steps
from npo_pipeline.configuration.settings import (
    AutoNpoConfig,
    MethodConfig,
    ResampleConfig,
    RollbackConfig,
    RollingConfig,
    WindowConfig,
)
from npo_pipeline.errors import ConfigError


def run_steps(method: MethodConfig, steps: int) -> int:
    """Steps of a method's run, where the probe has `steps`."""
    return round(method.length * steps)


@dataclass(frozen=True)
class Place:
    """What a window has to fit into."""

    steps: int
    guides: list[int]
    lookback: int
    start: int  # of the guided runs


def resolve_method(key: str, method: MethodConfig, place: Place) -> MethodConfig:
    """The method in whole steps, its windows fitted to the guides. Raises ConfigError naming the key."""
    steps, guides, lookback = place.steps, place.guides, place.lookback
    if (end := run_steps(method, steps)) <= place.start:
        raise ConfigError(f"{key}.length={method.length}: the run would end at step {end}, but begins at guided.start={place.start}")
    if method.rolling:
        rolling = RollingConfig(as_steps(method.rolling.distance, steps, f"{key}.rolling.distance", least=1))
        windows = _rolling_windows(f"{key}.rolling", rolling.distance, guides, lookback)
        return replace(method, rolling=rolling, windows=_from_start(f"{key}.rolling", windows, place.start))
    resolved = [_resolve_window(f"{key}.windows[{i}]", window, steps, guides, lookback) for i, window in enumerate(method.windows)]
    windows = _from_start(f"{key}.windows", [window for window in resolved if window], place.start)
    if method.windows and not windows:
        raise ConfigError(f"{key}.windows: none is left: no guide reaches back into one; raise guidance.lookback, or give others")
    check_windows(f"{key}.windows", windows, steps, guides, lookback)
    return replace(
        method,
        windows=windows,
        autonpo=method.autonpo and _resolve_autonpo(f"{key}.autonpo", method.autonpo, steps),
        online=method.online and replace(method.online, max_steps=as_steps(method.online.max_steps, steps, f"{key}.online.max_steps")),
        rollback=method.rollback and _resolve_rollback(f"{key}.rollback", method.rollback, steps),
        resample=method.resample and _resolve_resample(f"{key}.resample", method.resample, steps),
    )


def _from_start(key: str, windows: list[WindowConfig], start: int) -> list[WindowConfig]:
    """What is left of the windows in a run that begins at `start`. Raises ConfigError if that is nothing."""
    left = [replace(window, from_step=max(window.from_step, start)) for window in windows if window.to_step > start]
    if windows and not left:
        raise ConfigError(f"{key}: every window ends before guided.start={start}; give later ones, or leave this method out")
    return left


def _rolling_windows(key: str, distance: int, guides: list[int], lookback: int) -> list[WindowConfig]:
    """At step t the first guide checkpoint at t + distance or later; the last to the end. Raises ConfigError for a short lookback."""
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


def _resolve_resample(key: str, settings: ResampleConfig, steps: int) -> ResampleConfig:
    start = as_steps(settings.from_step, steps, f"{key}.from_step", least=0)
    end = as_steps(settings.to_step, steps, f"{key}.to_step")
    if start >= end:
        raise ConfigError(f"{key}: [{start}, {end}) is empty; expected from_step < to_step")
    return replace(settings, from_step=start, to_step=end)


def _resolve_rollback(key: str, settings: RollbackConfig, steps: int) -> RollbackConfig:
    every = as_steps(settings.every, steps, f"{key}.every")
    lookback = as_steps(settings.lookback, steps, f"{key}.lookback")
    if lookback < every:
        raise ConfigError(f"{key}.lookback={lookback}: expected at least {key}.every={every}, or there is nothing to go back to")
    return replace(settings, every=every, lookback=lookback)


def _resolve_window(key: str, window: WindowConfig, steps: int, guides: list[int], lookback: int) -> WindowConfig | None:
    """None where it is a fraction's, and its guide, the next one of a run with few checkpoints, reaches back to none of its steps."""
    guide = window.guide_step
    if isinstance(guide, float):
        target = as_steps(guide, steps, f"{key}.guide_step")
        guide = next(step for step in guides if step >= target)
    start = as_steps(window.from_step, steps, f"{key}.from_step", least=0)
    end = as_steps(window.to_step, steps, f"{key}.to_step")
    if isinstance(window.from_step, float) and isinstance(guide, int):
        reached = max(start, guide - lookback)  # a fraction is fitted to what the guide can reach
        if start < end <= reached:
            return None
        start = reached
    return WindowConfig(start, end, guide)


def _resolve_autonpo(key: str, settings: AutoNpoConfig, steps: int) -> AutoNpoConfig:
    patience = as_steps(settings.patience, steps, f"{key}.patience")
    return replace(settings, patience=patience, cooldown=as_steps(settings.cooldown, steps, f"{key}.cooldown", least=0))


def check_windows(key: str, windows: list[WindowConfig], steps: int, guides: list[int], lookback: int) -> None:
    """Refuse windows that the guides cannot serve; `key` names their list. Also for a schedule that a person edited. Raises ConfigError."""
    for i, window in enumerate(windows):
        _check_window(f"{key}[{i}]", window, steps, guides, lookback)
    ordered = sorted(windows, key=lambda window: window.from_step)
    for before, after in pairwise(ordered):
        if after.from_step < before.to_step:
            raise ConfigError(
                f"{key}: [{before.from_step}, {before.to_step}) and [{after.from_step}, {after.to_step}) overlap; "
                "a step can have one guide. Move one of them."
            )


def _check_window(key: str, window: WindowConfig, steps: int, guides: list[int], lookback: int) -> None:
    start, end, guide = window.from_step, window.to_step, window.guide_step
    if not 0 <= start < end:
        raise ConfigError(f"{key}: [{start}, {end}) is empty or starts before step 0; expected 0 <= from_step < to_step")
    if end > steps:
        raise ConfigError(f"{key}.to_step={end}: past the last checkpoint of the probe, {steps}; lower it or raise probe.steps")
    if guide not in guides:
        raise ConfigError(
            f"{key}.guide_step={guide}: no such guide checkpoint; there are {', '.join(map(str, guides))}; or change guidance.every"
        )
    if end > guide:
        raise ConfigError(
            f"{key}.to_step={end}: guide checkpoint {guide} has trajectories for earlier steps only; end at {guide} or take a later guide"
        )
    if start < guide - lookback:
        raise ConfigError(
            f"{key}.from_step={start}: guide checkpoint {guide} has trajectories from step {guide - lookback} on "
            f"(guidance.lookback={lookback}); start there or raise guidance.lookback"
        )
