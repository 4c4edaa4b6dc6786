"""Value checks of what is made of finished runs: evaluation, comparison, measurement."""

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.require import check_seed, plain_name, require


def check_evaluate(evaluate: s.EvaluateConfig) -> None:
    require(evaluate.samples >= 1, "evaluate.samples", evaluate.samples, "at least 1")
    require(
        bool(evaluate.ks) and all(1 <= k <= evaluate.samples for k in evaluate.ks),
        "evaluate.ks",
        evaluate.ks,
        f"numbers from 1 to evaluate.samples={evaluate.samples}",
    )
    check_seed("evaluate.seed", evaluate.seed)
    require(evaluate.temperature > 0, "evaluate.temperature", evaluate.temperature, "more than 0")
    require(evaluate.bootstrap >= 100, "evaluate.bootstrap", evaluate.bootstrap, "at least 100")
    require(0 < evaluate.confidence < 1, "evaluate.confidence", evaluate.confidence, "in (0, 1)")
    for name, benchmark in evaluate.benchmarks.items():
        key = f"evaluate.benchmarks.{name}"
        plain_name("evaluate.benchmarks", name, ("train", "eval", "cold"))
        require(benchmark.data != "", f"{key}.data", "", "a .jsonl or .parquet file, a folder of a dataset, a hub name, or null: left out")
        require(benchmark.size is None or benchmark.size >= 1, f"{key}.size", benchmark.size, "at least 1, or null for all")


def check_measure(measure: s.MeasureConfig) -> None:
    for key in ("current_steps", "distances"):
        require(bool(getattr(measure, key)), f"measure.{key}", [], "at least one step, or fraction of the run")
    for key, least in (("problems", 2), ("tries", 1), ("repeats", 1), ("resamples", 100)):
        require(getattr(measure, key) >= least, f"measure.{key}", getattr(measure, key), f"at least {least}")
    require(0 < measure.confidence < 1, "measure.confidence", measure.confidence, "in (0, 1)")


def check_comparison(compared: s.ComparisonConfig) -> None:
    different = len(set(compared.seeds)) == len(compared.seeds) > 0
    require(different, "comparison.seeds", compared.seeds, "a list of different whole numbers")
    check_seed("comparison.seeds", min(compared.seeds), compared.seeds)
    check_seed("comparison.seeds", max(compared.seeds), compared.seeds)
    check_seed("comparison.seed", compared.seed)
    require(bool(compared.methods), "comparison.methods", [], "at least one method")
    require(compared.resamples >= 100, "comparison.resamples", compared.resamples, "at least 100")
    require(0 < compared.confidence < 1, "comparison.confidence", compared.confidence, "in (0, 1)")
