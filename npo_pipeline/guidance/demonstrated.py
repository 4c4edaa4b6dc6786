"""Methods with demonstrations of another policy: LUFFY (an external teacher's replaces a slot), RLEP (the final checkpoint's are added)."""

from collections.abc import Mapping, Sequence
from typing import cast

from npo_pipeline.grpo.mixer import Mixed, OnPolicy
from npo_pipeline.grpo.mixing import append, mix
from npo_pipeline.records import Group, GuideTrajectory, Ratio
from npo_pipeline.settings import DemonstrationsConfig

Demonstrations = Mapping[str, Sequence[GuideTrajectory]]  # verified ones by problem, `wanted` of each


class DemonstrationMixer(OnPolicy):
    def __init__(self, settings: DemonstrationsConfig, gate: float, demonstrations: Demonstrations) -> None:
        self.settings, self.gate, self.demonstrations = settings, gate, demonstrations
        self.ratio = cast(Ratio, settings.ratio)  # checked with the configuration

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        return Mixed([self._mix(group) for group in groups])

    def _mix(self, group: Group) -> Group:
        found = self.demonstrations.get(group.problem.problem_id, ())
        if not found or group.accuracy > self.gate:
            return group
        if self.settings.place == "append":
            return append(group, found, self.ratio)
        return mix(group, found[0], self.gate, self.ratio)
