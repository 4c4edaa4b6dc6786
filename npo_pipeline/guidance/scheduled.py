"""A run by a schedule, whichever method planned it: the scheduled guide goes into each gated group."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, OnPolicy
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.schedule import Schedule, Window, check_owner, read_schedule
from npo_pipeline.records import Group, Ratio
from npo_pipeline.storage.manifest import NAME, read_manifest

if TYPE_CHECKING:
    from npo_pipeline.guidance.shards.load import Supply


def inputs(context: Context[GuidedStage]) -> list[Path]:
    return [context.layout.guide / NAME, context.layout.schedule(context.config.name)]


def make(context: Context[GuidedStage]) -> MakeMixer:
    from npo_pipeline.guidance.shards.load import load_guides  # not on top: it reads Parquet

    config, layout = context.config, context.layout
    guide = read_manifest(layout.guide)
    schedule = read_schedule(layout.schedule(config.name), config.steps, guide["guide_steps"], guide["lookback"])
    check_owner(layout.schedule(config.name), schedule, config.name, layout.seed)
    supply, _ = load_guides(layout, {window.guide_step for window in schedule.windows}, config.sampling.max_new_tokens)
    return lambda trainer: ScheduledMixer(schedule, supply, config.replace)


def mix_window(window: Window | None, supply: "Supply", groups: Sequence[Group], replaced: str) -> Mixed:
    """Mix the window's guide into each group that it gates and that the guide has solved; without a window nothing is mixed."""
    if window is None:
        return Mixed(groups)
    ratio: Ratio = "recorded" if window.correction else "policy"
    return Mixed([mix(group, supply.get((window.guide_step, group.problem.problem_id)), window.gate, ratio, replaced) for group in groups])


class ScheduledMixer(OnPolicy):
    def __init__(self, schedule: Schedule, supply: "Supply", replaced: str = "last") -> None:
        self.schedule, self.supply, self.replaced = schedule, supply, replaced

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        return mix_window(self.schedule.window_at(step), self.supply, groups, self.replaced)
