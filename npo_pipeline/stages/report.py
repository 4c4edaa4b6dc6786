"""report: one self-contained HTML file, the comparison table and the figures, over methods and seeds."""

from npo_pipeline.analysis.inputs import verify_reported
from npo_pipeline.configuration.stages import ReportStage
from npo_pipeline.context import Context
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.lock import only_writer


def run(context: Context[ReportStage]) -> None:
    verify_reported(context.layout, context.config.seeds, context.config.methods, bool(context.config.averaged))

    from npo_pipeline.analysis.report.build import build_report

    with only_writer(context.layout.root, ".report.lock"):
        build_report(context.config, context.layout, context.config_sha256)


if __name__ == "__main__":
    run_stage(parser("report", __doc__), ReportStage, run)
