"""Methods with demonstrations of another policy: LUFFY (an external teacher's replaces a slot), RLEP (the final checkpoint's are added)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from npo_pipeline.configuration.settings import DemonstrationsConfig, Need
from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, OnPolicy
from npo_pipeline.grpo.mixing import append, mix
from npo_pipeline.guidance.methods import Live
from npo_pipeline.records import Group, Ratio
from npo_pipeline.storage.manifest import NAME

if TYPE_CHECKING:
    from npo_pipeline.guidance.shards.load import Demonstrations


@dataclass
class Method(Live):
    needs: ClassVar[frozenset[Need]] = frozenset({"demonstrations"})

    demonstrations: DemonstrationsConfig = field(kw_only=True)

    @property
    def replaces(self) -> bool:
        return self.demonstrations.place != "append"

    def inputs(self, context: Context[GuidedStage]) -> list[Path]:
        return [context.layout.demonstrations(context.config.name) / NAME]

    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        from npo_pipeline.guidance.shards.load import load_demonstrations

        config, wanted = context.config, self.demonstrations.wanted
        found = load_demonstrations(context.layout, config.name, wanted, config.sampling.max_new_tokens)
        mixer = DemonstrationMixer(self.demonstrations, self.gate, found, config.replace)
        return lambda trainer: mixer


class DemonstrationMixer(OnPolicy):
    def __init__(self, settings: DemonstrationsConfig, gate: float, demonstrations: "Demonstrations", replaced: str = "last") -> None:
        self.settings, self.gate, self.demonstrations, self.replaced = settings, gate, demonstrations, replaced
        self.ratio = cast(Ratio, settings.ratio)  # checked with the configuration

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        return Mixed([self._mix(group) for group in groups])

    def _mix(self, group: Group) -> Group:
        found = self.demonstrations.get(group.problem.problem_id, ())
        if not found or group.accuracy > self.gate:
            return group
        if self.settings.place == "append":
            return append(group, found, self.ratio)
        return mix(group, found[0], self.gate, self.ratio, self.replaced)
