"""measure: Q, V and S of a finished probe, measured; beside V the cheap estimates of it; figure, and answers to the paper's claims.

Outside the main job: `snakemake --cores 2 signal_study`, or this command. npo_pipeline.analysis.measurement says what V is here.
"""

from npo_pipeline.configuration.grid import measured_pairs
from npo_pipeline.configuration.stages import MeasureStage
from npo_pipeline.context import Context
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.manifest import verify


def run(context: Context[MeasureStage]) -> None:
    config, layout = context.config, context.layout
    verify(layout.prepare)
    verify(layout.probe)
    pairs = measured_pairs(str(context.options.config), config.measure, list(read_records(layout.probe)))

    from npo_pipeline.analysis.measurement.measure import measure

    measure(context, pairs)


if __name__ == "__main__":
    run_stage(parser("measure", __doc__), MeasureStage, run)
