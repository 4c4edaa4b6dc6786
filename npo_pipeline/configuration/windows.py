"""The windows and other steps of a method: fractions become whole steps, and windows are fitted to the guide checkpoints."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from npo_pipeline.configuration.grid import as_steps
from npo_pipeline.configuration.settings import AutoNpoConfig, MethodConfig, Place, WindowConfig
from npo_pipeline.errors import ConfigError


def run_steps(method: MethodConfig, steps: int) -> int:
    """Steps of a method's run, where the probe has `steps`."""
    return round(method.length * steps)


def resolve_method(key: str, method: MethodConfig, place: Place) -> MethodConfig:
    """The method in whole steps, its windows fitted to the guides. Raises ConfigError naming the key."""
    steps, guides, lookback = place.steps, place.guides, place.lookback
    if (end := run_steps(method, steps)) <= place.start:
        raise ConfigError(f"{key}.length={method.length}: the run would end at step {end}, but begins at guided.start={place.start}")
    method = method.resolved(key, place)
    resolved = [_reached(window, _in_steps(f"{key}.windows[{i}]", window, place), lookback) for i, window in enumerate(method.windows)]
    windows = from_start(f"{key}.windows", [window for window in resolved if window], place.start)
    if method.windows and not windows:
        raise ConfigError(f"{key}.windows: none is left: no guide reaches back into one; raise guidance.lookback, or give others")
    check_windows(f"{key}.windows", windows, steps, guides, lookback)
    return replace(
        method,
        windows=windows,
        autonpo=method.autonpo and _resolve_autonpo(f"{key}.autonpo", method.autonpo, steps),
        row=None,  # how it is shown changes no result
    )


def from_start(key: str, windows: list[WindowConfig], start: int) -> list[WindowConfig]:
    """What is left of the windows in a run that begins at `start`. Raises ConfigError if that is nothing."""
    left = [replace(window, from_step=max(window.from_step, start)) for window in windows if window.to_step > start]
    if windows and not left:
        raise ConfigError(f"{key}: every window ends before guided.start={start}; give later ones, or leave this method out")
    return left


def _in_steps(key: str, window: WindowConfig, place: Place) -> WindowConfig:
    """As it was asked for; a guide given as a fraction is the next checkpoint that can guide."""
    steps, guide = place.steps, window.guide_step
    if isinstance(guide, float):
        target = as_steps(guide, steps, f"{key}.guide_step")
        guide = next(step for step in place.guides if step >= target)
    start = as_steps(window.from_step, steps, f"{key}.from_step", least=0)
    return WindowConfig(start, as_steps(window.to_step, steps, f"{key}.to_step"), guide)


def _reached(window: WindowConfig, wanted: WindowConfig, lookback: int) -> WindowConfig | None:
    """`wanted`, the window in whole steps, from where its guide reaches to if it was given as a fraction; None: to none of its steps."""
    start, end, guide = wanted.from_step, wanted.to_step, wanted.guide_step
    if isinstance(window.from_step, float) and isinstance(guide, int):
        reached = max(start, guide - lookback)  # a fraction is fitted to what the guide can reach
        if start < end <= reached:
            return None
        start = reached
    return WindowConfig(start, end, guide)


def fitted(key: str, method: MethodConfig, place: Place) -> Iterator[str]:
    """A line for each window given in fractions that its guide does not reach in whole, so that nobody takes it for what was asked for.

    What lies before the run's own start is nobody's loss. Windows in whole steps are refused instead (`check_windows`).
    """
    for i, window in enumerate(method.windows):
        name = f"{key}.windows[{i}]"
        wanted = _in_steps(name, window, place)
        got = _reached(window, wanted, place.lookback)
        begins, asked = (max(place.start, found.from_step) if found else None for found in (got, wanted))
        if wanted.to_step > place.start and begins != asked:
            did = "is left out" if begins is None else f"begins at step {begins} instead of at step {asked}"
            yield (
                f"{name} {did}: guide checkpoint {wanted.guide_step} has trajectories of the {place.lookback} steps before it "
                "(guidance.lookback; 1.0 for all)"
            )


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
