"""comparison: the table, figures and findings over all methods and training seeds, from runs and evaluations that are finished."""

from npo_pipeline.analysis.inputs import verify_reported
from npo_pipeline.analysis.methods import INITIAL
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.configuration.stages import ComparisonStage
from npo_pipeline.context import Context
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.lock import only_writer


def run(context: Context[ComparisonStage]) -> None:
    methods = [name for name in context.config.methods if name not in (INITIAL, GRPO, "grpo")]
    verify_reported(context.layout, context.config.seeds, methods, bool(context.config.averaged))

    from npo_pipeline.analysis.comparison.build import build_comparison

    with only_writer(context.layout.root, ".report.lock"):  # a report writes into the same folder
        build_comparison(context.config, context.layout, context.config_sha256)


if __name__ == "__main__":
    run_stage(parser("comparison", __doc__), ComparisonStage, run)
