"""The work of the stage `benchmarks`: problems of held-out benchmarks, with prompts as the initial policy reads them."""

import shutil
from collections.abc import Mapping

from npo_pipeline.configuration.stages import BenchmarksStage
from npo_pipeline.context import Context
from npo_pipeline.policy.policy import load_policy
from npo_pipeline.preparation.problems import render
from npo_pipeline.storage.manifest import write_manifest
from npo_pipeline.storage.parquet import PROBLEMS, problem_row, write_table
from npo_pipeline.tasks.benchmarks import describe_benchmark
from npo_pipeline.tasks.raw import RawProblem


def write_benchmarks(context: Context[BenchmarksStage], raws: Mapping[str, list[RawProblem]], trained_on: Mapping[str, int]) -> None:
    """`trained_on` counts, of each benchmark, the questions that are training questions too."""
    config, layout = context.config, context.layout
    policy = load_policy(layout.initial_policy, config.dtype)
    shutil.rmtree(layout.benchmarks, ignore_errors=True)
    problems = [problem for found in raws.values() for problem in render(found, config.task, policy, layout.benchmarks)]
    write_table(layout.benchmark_problems, [problem_row(problem) for problem in problems], PROBLEMS, context.config_sha256)
    sources = {name: describe_benchmark(settings, config.task) for name, settings in config.benchmarks.items()}
    counts = {name: len(found) for name, found in raws.items()}
    files = [file for file in layout.benchmarks.rglob("*") if file.is_file()]
    facts = {"problems": counts, "trained_on": dict(trained_on), "sources": sources}
    write_manifest(layout.benchmarks, "benchmarks", context.config_sha256, files, facts)
