"""plan: a schedule of interventions, by configured windows or by AutoNPO's walk along the probe's log."""

from dataclasses import replace

from npo_pipeline.configuration.stages import PlanStage
from npo_pipeline.context import Context
from npo_pipeline.guidance.autonpo.planner import plan_autonpo, plan_manual
from npo_pipeline.guidance.schedule import write_schedule
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.guides import verify_guide
from npo_pipeline.storage.manifest import verify
from npo_pipeline.storage.parquet import SIGNAL, read_rows
from npo_pipeline.storage.run_files import METRICS, read_jsonl


def run(context: Context[PlanStage]) -> None:
    config, layout = context.config, context.layout
    if config.method.kind != "autonpo":
        schedule = plan_manual(config.name, config.method)
    else:
        verify(layout.probe, METRICS)
        verify_guide(layout.guide, layout.guide)
        metrics, signal = read_jsonl(layout.probe / METRICS), read_rows(layout.signal, SIGNAL)
        schedule = plan_autonpo(config.name, config.method, metrics, signal, config.lookback, config.start or 0)
    write_schedule(layout.schedule(config.name), replace(schedule, seed=layout.seed))


if __name__ == "__main__":
    run_stage(parser("plan", __doc__), PlanStage, run)
