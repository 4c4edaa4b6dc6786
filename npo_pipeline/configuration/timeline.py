"""Steps of the run: fractions become whole steps, and windows are fitted to the guide checkpoints."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from npo_pipeline.configuration.settings import (
    AutoNpoConfig,
    MeasureConfig,
    MethodConfig,
    ResampleConfig,
    RollbackConfig,
    RollingConfig,
    RootConfig,
    StepLike,
    WindowConfig,
)
from npo_pipeline.errors import ConfigError


@dataclass(frozen=True)
class Timeline:
    """The resolved steps of an experiment; windows and autonpo settings of `methods` hold whole steps only."""

    steps: int
    checkpoint_every: int
    guide_steps: list[int]
    lookback: int
    guided_checkpoint_every: int
    curve: int | None  # distance between the checkpoints that a comparison evaluates
    average: tuple[int, int] | None  # grid and span of the averaged policies' checkpoints (`averaged_steps`)
    methods: dict[str, MethodConfig]
    start: int | None = None  # where guided runs begin; None: at the initial policy
    adopted: list[int] | None = None  # the checkpoints of an adopted run; None: the probe's own, every `checkpoint_every`


def resolve_timeline(root: RootConfig) -> Timeline:
    """Resolve every StepLike of the configuration. Raises ConfigError naming the key."""
    adopted = sorted(root.probe.adopt) if root.probe.adopt else None
    steps, dense = root.probe.steps, 1 if adopted else root.probe.checkpoint_every
    start = resolve_start(root, adopted or checkpoint_steps(dense, steps))
    guides = guide_steps(as_steps(root.guidance.every, steps, "guidance.every", multiple=dense), steps, adopted)
    # A fraction is rounded up to the checkpoints' grid, so that a guide that was rounded up still reaches its window's start.
    grid = dense if isinstance(root.guidance.lookback, float) else 1
    lookback = as_steps(root.guidance.lookback, steps, "guidance.lookback", multiple=grid)
    kept = as_steps(root.guided.checkpoint_every, steps, "guided.checkpoint_every")
    place = Place(steps, guides, lookback, start or 0)
    methods = {name: _resolve_method(f"method.{name}", method, place) for name, method in root.method.items()}
    common = math.lcm(dense, kept)  # what all runs keep: other steps are no comparison
    last = None if root.average_last is None else as_steps(root.average_last, steps, "average_last")
    average = None if last is None else (common, last)
    ahead = [step for step in guides if step > (start or 0)]
    curve = _curve(root.comparison.every, steps, None if adopted else common)
    return Timeline(steps, root.probe.checkpoint_every, ahead, lookback, kept, curve, average, methods, start, adopted)


def _curve(every: StepLike | None, steps: int, common: int | None) -> int | None:
    """Raises ConfigError for steps at which not every run has a checkpoint; `common` is None where they share no grid."""
    if every is None:
        return None
    if common is None:
        raise ConfigError(f"comparison.every={every}: an adopted run has the checkpoints that it has, on no grid; expected null")
    if isinstance(every, int) and not isinstance(every, bool) and (every < 1 or every % common):
        raise ConfigError(
            f"comparison.every={every}: expected a multiple of {common}, the steps at which all runs keep a checkpoint "
            "(probe.checkpoint_every, guided.checkpoint_every), or null"
        )
    return as_steps(every, steps, "comparison.every", multiple=common)


def resolve_start(root: RootConfig, kept: Sequence[int]) -> int | None:
    """The step of the checkpoint that guided runs begin from, of those `kept`; a fraction takes the next one at it or later.

    Raises ConfigError for a step without a checkpoint, and where an adopted run leaves the start open.
    """
    wanted, steps = root.guided.start, root.probe.steps
    there = sorted({0, *(step for step in kept if step < steps)})
    if wanted is None:
        if root.probe.adopt:
            choice = f"expected one of {', '.join(map(str, there))}; `npo run` proposes one from the run's log"
            raise ConfigError(f"guided.start: not given, but probe.adopt names a run to begin in: {choice}")
        return None
    start = as_steps(wanted, steps, "guided.start", least=0)
    if isinstance(wanted, float):
        start = next((step for step in there if step >= start), start)
    if start not in there:
        raise ConfigError(
            f"guided.start={wanted}: the probe has no checkpoint there before its end; take from {', '.join(map(str, there))}"
        )
    return start if start or root.probe.adopt else None


def guided_checkpoints(time: Timeline, steps: int, dense: bool = False) -> list[int] | None:
    """Of a guided run of an adopted one, in place of a grid that the adopted run does not have: its start, every so many steps, and
    those over which runs are averaged; `dense`: all that the adopted run has, as it is the probe of a next round. None otherwise."""
    if time.adopted is None or time.start is None:
        return None
    last = averaged_steps(1, time.average[1], time.steps, time.start, time.adopted) if time.average else []
    grid = [step for step in checkpoint_steps(time.guided_checkpoint_every, steps) if step >= time.start]
    kept = [step for step in time.adopted if step >= time.start] if dense else []
    return sorted({time.start, *grid, *last, *kept})


def as_steps(value: StepLike, total: int, key: str, multiple: int = 1, least: int = 1) -> int:
    """Whole steps of an int, or of a float fraction of `total` (rounded up to `multiple`, at least `least`, at most `total`)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{key}={value!r}: expected a whole number of steps, or a fraction of the run such as 0.5")
    if isinstance(value, int):
        if value < least or value % multiple:
            raise ConfigError(f"{key}={value}: expected a multiple of probe.checkpoint_every={multiple}, at least {max(least, multiple)}")
        return value
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{key}={value}: a fraction of the run must lie between 0.0 and 1.0; write steps without a decimal point")
    whole = max(least, round(value * total))
    return min(total, math.ceil(whole / multiple) * multiple)


def run_steps(method: MethodConfig, steps: int) -> int:
    """Steps of a method's run, where the probe has `steps`."""
    return round(method.length * steps)


def resolve_measure(measure: MeasureConfig, steps: int, dense: int) -> MeasureConfig:
    """Current steps and distances in whole steps, on the grid of the probe's checkpoints. Raises ConfigError naming the key."""

    def whole(key: str, values: list[StepLike]) -> list[int]:
        found = [as_steps(value, steps, f"measure.{key}[{i}]", multiple=dense, least=0) for i, value in enumerate(values)]
        return sorted(set(found))

    return replace(measure, current_steps=whole("current_steps", measure.current_steps), distances=whole("distances", measure.distances))


def guide_steps(every: int, steps: int, adopted: Sequence[int] | None = None) -> list[int]:
    """Every `every` steps, and the last checkpoint of the probe; of an adopted run the next checkpoint that is there."""
    wanted = {*range(every, steps + 1, every), steps}
    return sorted(wanted if adopted is None else {next(step for step in adopted if step >= at) for at in wanted})


def checkpoint_steps(every: int, steps: int) -> list[int]:
    """Where policy checkpoints lie: the start, every `every` updates, and the end."""
    return sorted({*range(0, steps + 1, every), steps})


def averaged_steps(every: int, last: int, end: int, start: int = 0, checkpoints: Sequence[int] | None = None) -> list[int]:
    """The checkpoints whose mean a run from `start` to `end` is averaged to: of the grid, in its last `last` steps, but two at least.

    `checkpoints`, those of an adopted run, take the grid's place. The start is one of them where no other lies between it and the end.
    Examples: every 5, last 20, end 120: 100, 105, 110, 115, 120; every 30, last 20: 90, 120.
    """
    grid = checkpoint_steps(every, end) if checkpoints is None else checkpoints
    kept = sorted({step for step in grid if start <= step < end} | {end})
    kept = kept if len(kept) > 1 else [start, end]
    return [step for step in kept if step >= min(end - last, kept[-2])]


def check_guide_steps(place: str, guide_steps: Sequence[int], there: Sequence[int]) -> None:
    """Raises ConfigError for a guide checkpoint that is not among the probe's; `place` names the file that asks for it."""
    if missing := [step for step in guide_steps if step not in there]:
        raise ConfigError(
            f"{place}: guide_steps={list(guide_steps)}: the probe has no checkpoint {missing[0]}; "
            f"there are {', '.join(map(str, there))}. Take from these, or run the probe again"
        )


def measured_pairs(place: str, measure: MeasureConfig, there: Sequence[int]) -> list[tuple[int, int]]:
    """(current step, guide step) of the grid of which the probe has both checkpoints. Raises ConfigError if there is none."""
    steps = max(there)
    wanted = [(current, current + distance) for current in measure.current_steps for distance in measure.distances]
    found = [(current, guide) for current, guide in wanted if current in there and guide in there and current < steps]
    if not found:
        raise ConfigError(
            f"{place}: measure.current_steps={measure.current_steps} with measure.distances={measure.distances}: the "
            f"probe has both checkpoints of none of these pairs; there are {', '.join(map(str, there))}. Take from these"
        )
    return found


@dataclass(frozen=True)
class Place:
    """What a window has to fit into."""

    steps: int
    guides: list[int]
    lookback: int
    start: int  # of the guided runs


def _resolve_method(key: str, method: MethodConfig, place: Place) -> MethodConfig:
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
