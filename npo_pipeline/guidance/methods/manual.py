"""Methods whose windows a person gives (npo_early, npo_late, npo): their schedule says what their YAML says."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.stages import PlanStage
from npo_pipeline.context import Context
from npo_pipeline.guidance.methods import Planned

if TYPE_CHECKING:
    from npo_pipeline.guidance.schedule import Schedule


@dataclass
class Method(Planned):
    def check(self, key: str) -> None:
        expected = f"at least one window {{from_step, to_step, guide_step}} (kind {self.kind})"
        require(bool(self.windows), f"{key}.windows", self.windows, expected)

    def plan(self, context: Context[PlanStage]) -> "Schedule":
        from npo_pipeline.guidance.schedule import of_windows

        name = context.config.name
        return of_windows(name, self, f"configured in method.{name}.windows")
