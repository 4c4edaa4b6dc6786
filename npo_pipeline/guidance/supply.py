"""The supply of a guided run: verified guide trajectories by (guide step, problem), and the mixing of them into groups."""

from collections.abc import Mapping

from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.schedule import Schedule
from npo_pipeline.records import Group, GuideTrajectory

Supply = Mapping[tuple[int, str], GuideTrajectory]  # by (guide_step, problem_id)


class ScheduledMixer:
    """Mixes the scheduled guide into each group of a step; outside the windows groups stay on-policy."""

    def __init__(self, schedule: Schedule, supply: Supply) -> None:
        self.schedule, self.supply = schedule, supply

    def __call__(self, step: int, group: Group) -> Group:
        window = self.schedule.window_at(step)
        if window is None:
            return group
        guide = self.supply.get((window.guide_step, group.problem.problem_id))
        return mix(group, guide, window.gate, window.correction)
