"""plan: a schedule of interventions, by configured windows or by AutoNPO's walk along the probe's log."""

from dataclasses import replace

from npo_pipeline.configuration.stages import PlanStage
from npo_pipeline.context import Context
from npo_pipeline.guidance.methods import Planned
from npo_pipeline.guidance.schedule import write_schedule
from npo_pipeline.stages.cli import parser, run_stage


def run(context: Context[PlanStage]) -> None:
    method, layout = context.config.method, context.layout
    assert isinstance(method, Planned), "checked with the configuration"
    schedule = method.plan(context)
    write_schedule(layout.schedule(context.config.name), replace(schedule, seed=layout.seed))


if __name__ == "__main__":
    run_stage(parser("plan", __doc__), PlanStage, run)
