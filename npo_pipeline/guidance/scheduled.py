"""Methods with a schedule (npo_early, npo_late, npo, npo_rolling, autonpo): the scheduled guide goes into each gated group."""

from collections.abc import Mapping, Sequence

from npo_pipeline.grpo.mixer import Mixed, OnPolicy
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.schedule import Schedule, Window
from npo_pipeline.records import Group, GuideTrajectory, Ratio

Supply = Mapping[tuple[int, str], GuideTrajectory]  # verified guide trajectories by (guide_step, problem_id)


def mix_window(window: Window | None, supply: Supply, groups: Sequence[Group]) -> Mixed:
    """Mix the window's guide into each group that it gates and that the guide has solved; without a window nothing is mixed."""
    if window is None:
        return Mixed(groups)
    ratio: Ratio = "recorded" if window.correction else "policy"
    return Mixed([mix(group, supply.get((window.guide_step, group.problem.problem_id)), window.gate, ratio) for group in groups])


class ScheduledMixer(OnPolicy):
    def __init__(self, schedule: Schedule, supply: Supply) -> None:
        self.schedule, self.supply = schedule, supply

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        return mix_window(self.schedule.window_at(step), self.supply, groups)
