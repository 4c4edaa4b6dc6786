"""comparison: the table, figures and findings over all methods and training seeds, from runs and evaluations that are finished."""

from npo_pipeline.config import ComparisonStage
from npo_pipeline.stages.cli import Context, parser, run_stage


def run(context: Context[ComparisonStage]) -> None:
    from npo_pipeline.comparison.build import build_comparison

    build_comparison(context.config, context.layout, context.config_sha256)


if __name__ == "__main__":
    run_stage(parser("comparison", __doc__), ComparisonStage, run)
