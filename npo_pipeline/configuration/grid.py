"""Whole steps of fractions, and the steps at which checkpoints lie."""

import math
from collections.abc import Sequence

from npo_pipeline.configuration.settings import MeasureConfig, StepLike
from npo_pipeline.errors import ConfigError


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


def checkpoint_steps(every: int, steps: int) -> list[int]:
    """Where policy checkpoints lie: the start, every `every` updates, and the end."""
    return sorted({*range(0, steps + 1, every), steps})


def guide_steps(every: int, steps: int, adopted: Sequence[int] | None = None) -> list[int]:
    """Every `every` steps, and the last checkpoint of the probe; of an adopted run the next checkpoint that is there."""
    wanted = {*range(every, steps + 1, every), steps}
    return sorted(wanted if adopted is None else {next(step for step in adopted if step >= at) for at in wanted})


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
