"""benchmarks: the problems of the held-out benchmarks, with prompts as the initial policy reads them.

A stage of its own, so that a benchmark more only adds evaluations: nothing that was trained depends on it.
"""

import logging
import shutil

from npo_pipeline.config import BenchmarksStage
from npo_pipeline.stages.cli import Context, parser, run_stage
from npo_pipeline.stages.prepare import render
from npo_pipeline.storage.manifest import NAME, verify, write_manifest
from npo_pipeline.storage.parquet import PROBLEMS, problem_row, read_problems, write_table
from npo_pipeline.tasks.benchmarks import describe_benchmark, load_benchmark, trained_on

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

    from npo_pipeline.policy.policy import load_policy

    policy = load_policy(layout.initial_policy, config.dtype)
    shutil.rmtree(layout.benchmarks, ignore_errors=True)
    problems = [problem for found in raws.values() for problem in render(found, config.task, policy, layout.benchmarks)]
    write_table(layout.benchmark_problems, [problem_row(problem) for problem in problems], PROBLEMS, context.config_sha256)
    sources = {name: describe_benchmark(settings, config.task) for name, settings in config.benchmarks.items()}
    counts = {name: len(found) for name, found in raws.items()}
    files = [file for file in layout.benchmarks.rglob("*") if file.is_file()]
    write_manifest(
        layout.benchmarks, "benchmarks", context.config_sha256, files, {"problems": counts, "trained_on": known, "sources": sources}
    )


if __name__ == "__main__":
    run_stage(parser("benchmarks", __doc__), BenchmarksStage, run)
