"""AutoNPO, planned: the probe's log is walked as if online (npo_pipeline.guidance.autonpo.planner), and what it decides is the schedule."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from npo_pipeline.configuration.settings import AutoNpoConfig
from npo_pipeline.configuration.stages import PlanStage
from npo_pipeline.context import Context
from npo_pipeline.guidance.methods import Planned

if TYPE_CHECKING:
    from npo_pipeline.guidance.schedule import Schedule


@dataclass
class Method(Planned):
    autonpo: AutoNpoConfig = field(kw_only=True)

    def plan(self, context: Context[PlanStage]) -> "Schedule":
        from npo_pipeline.guidance.autonpo.planner import plan_autonpo
        from npo_pipeline.storage.guides import verify_guide
        from npo_pipeline.storage.manifest import verify
        from npo_pipeline.storage.parquet import SIGNAL, read_rows
        from npo_pipeline.storage.run_files import METRICS, read_jsonl

        config, layout = context.config, context.layout
        verify(layout.probe, METRICS)
        verify_guide(layout.guide, layout.guide)
        metrics, signal = read_jsonl(layout.probe / METRICS), read_rows(layout.signal, SIGNAL)
        return plan_autonpo(config.name, self, metrics, signal, config.lookback, config.start or 0)
