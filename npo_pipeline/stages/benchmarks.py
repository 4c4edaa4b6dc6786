"""benchmarks: the problems of the held-out benchmarks, with prompts as the initial policy reads them.

A stage of its own, so that a benchmark more only adds evaluations: nothing that was trained depends on it.
"""

import logging

from npo_pipeline.configuration.stages import BenchmarksStage
from npo_pipeline.context import Context
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.manifest import NAME, verify
from npo_pipeline.storage.parquet import read_problems
from npo_pipeline.tasks.benchmarks import load_benchmark, trained_on

log = logging.getLogger(__name__)


def run(context: Context[BenchmarksStage]) -> None:
    config, layout = context.config, context.layout
    verify(layout.prepare)
    raws = {name: load_benchmark(name, settings, config.task) for name, settings in config.benchmarks.items()}
    known = trained_on(raws, read_problems(layout.problems, "train"))
    for name, count in known.items():
        if count:
            log.warning("evaluate.benchmarks.%s: %d of its %d questions are training questions too", name, count, len(raws[name]))
    (layout.benchmarks / NAME).unlink(missing_ok=True)

    from npo_pipeline.preparation.benchmarks import write_benchmarks

    write_benchmarks(context, raws, known)


if __name__ == "__main__":
    run_stage(parser("benchmarks", __doc__), BenchmarksStage, run)
