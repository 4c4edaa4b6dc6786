"""Steps of the run: where everything of an experiment begins, ends and lies, in whole steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from npo_pipeline.configuration.grid import as_steps, averaged_steps, checkpoint_steps, guide_steps
from npo_pipeline.configuration.settings import MeasureConfig, MethodConfig, Place, RootConfig, StepLike
from npo_pipeline.configuration.windows import fitted, resolve_method, run_steps
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
    adopted, dense = _kept(root)
    steps, start = root.probe.steps, _start(root)
    place = _place(root, start)
    guides, lookback = place.guides, place.lookback
    kept = as_steps(root.guided.checkpoint_every, steps, "guided.checkpoint_every")
    methods = {name: resolve_method(f"method.{name}", method, place) for name, method in root.method.items()}
    common = math.lcm(dense, kept)  # what all runs keep: other steps are no comparison
    last = None if root.average_last is None else as_steps(root.average_last, steps, "average_last")
    average = None if last is None else (common, last)
    ahead = [step for step in guides if step > (start or 0)]
    longest = max([steps, *(run_steps(method, steps) for method in methods.values())])
    curve = _curve(root.comparison.every, steps, longest, None if adopted else common)
    return Timeline(steps, root.probe.checkpoint_every, ahead, lookback, kept, curve, average, methods, start, adopted)


def _kept(root: RootConfig) -> tuple[list[int] | None, int]:
    """The checkpoints of an adopted run, None for the probe's own; and the steps between two of these, 1 where they lie on no grid."""
    adopted = sorted(root.probe.adopt) if root.probe.adopt else None
    return adopted, 1 if adopted else root.probe.checkpoint_every


def _start(root: RootConfig) -> int | None:
    adopted, dense = _kept(root)
    return resolve_start(root, adopted or checkpoint_steps(dense, root.probe.steps))


def _place(root: RootConfig, start: int | None) -> Place:
    (adopted, dense), steps = _kept(root), root.probe.steps
    guides = guide_steps(as_steps(root.guidance.every, steps, "guidance.every", multiple=dense), steps, adopted)
    # A fraction is rounded up to the checkpoints' grid, so that a guide that was rounded up still reaches its window's start.
    grid = dense if isinstance(root.guidance.lookback, float) else 1
    return Place(steps, guides, as_steps(root.guidance.lookback, steps, "guidance.lookback", multiple=grid), start or 0)


def fitted_windows(root: RootConfig) -> list[str]:
    """What is not as it was asked for: a line per window, of every method, that was fitted to what its guide reaches.

    Of a configuration that `resolve_timeline` takes.
    """
    place = _place(root, _start(root))
    return [line for name, method in root.method.items() for line in fitted(f"method.{name}", method, place)]


def _curve(every: StepLike | None, steps: int, longest: int, common: int | None) -> int | None:
    """Raises ConfigError for steps at which not every run has a checkpoint; `common` is None where they share no grid.

    `longest`: steps of the longest run. Its own end every run keeps.
    """
    if every is None:
        return None
    if common is None:
        raise ConfigError(f"comparison.every={every}: an adopted run has the checkpoints that it has, on no grid; expected null")
    found, beyond = every, True
    if isinstance(every, bool) or not isinstance(every, int):
        found = as_steps(every, steps, "comparison.every", multiple=common)
        beyond = found < longest  # the fraction of a short probe ends at its end, which a longer run has no checkpoint at
    if found < 1 or (beyond and found % common):
        raise ConfigError(
            f"comparison.every={every}: expected a multiple of {common}, the steps at which all runs keep a checkpoint: that is the least "
            "common multiple of probe.checkpoint_every and guided.checkpoint_every, which may need to be changed; or null"
        )
    return int(found)


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


def resolve_measure(measure: MeasureConfig, steps: int, dense: int) -> MeasureConfig:
    """Current steps and distances in whole steps, on the grid of the probe's checkpoints. Raises ConfigError naming the key."""

    def whole(key: str, values: list[StepLike]) -> list[int]:
        found = [as_steps(value, steps, f"measure.{key}[{i}]", multiple=dense, least=0) for i, value in enumerate(values)]
        return sorted(set(found))

    return replace(measure, current_steps=whole("current_steps", measure.current_steps), distances=whole("distances", measure.distances))
