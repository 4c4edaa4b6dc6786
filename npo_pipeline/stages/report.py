"""report: one self-contained HTML file, the comparison table and the figures, over methods and seeds."""

from npo_pipeline.config import ReportStage
from npo_pipeline.stages.cli import Context, parser, run_stage


def run(context: Context[ReportStage]) -> None:
    from npo_pipeline.report.build import build_report

    build_report(context.config, context.layout, context.config_sha256)


if __name__ == "__main__":
    run_stage(parser("report", __doc__), ReportStage, run)
