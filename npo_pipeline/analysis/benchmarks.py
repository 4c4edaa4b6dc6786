"""The paper's table: a column per held-out benchmark and their plain average, each benchmark counting alike.

Arrays are values_SP, the share of right samples by seed and problem. A resample draws seeds once for all benchmarks, and problems
within each; all policies share it, so differences are paired. With one row of seed means only problems are resampled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.results import GRPO, Results, policy_label
from npo_pipeline.analysis.statistics import Interval, percentile_interval

Floats = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, Floats]]  # benchmark -> policy -> values_SP


@dataclass(frozen=True)
class BenchmarkRow:
    """One policy: its score in each benchmark, their average, and what that is above GRPO's (None for GRPO, or without it)."""

    scores: Mapping[str, Interval]
    average: Interval
    to_grpo: Interval | None


def benchmark_scores(results: Results, policies: Sequence[str], seed_means: bool) -> dict[str, dict[str, Floats]]:
    """The scores of an experiment; {} where there are no benchmarks. `seed_means`: one row, the mean over the seeds."""

    def values(name: str, policy: str) -> Floats:
        found = [seed.evaluations[policy] for seed in results.seeds]
        ids = sorted(results.settings.benchmarks[name])
        values_SP = np.array([[e.benchmarks[name][i] / e.samples for i in ids] for e in found], dtype=np.float64)
        return values_SP.mean(axis=0, keepdims=True) if seed_means else values_SP

    return {name: {policy: values(name, policy) for policy in policies} for name in results.settings.benchmarks}


def summarise_benchmarks(scores: Scores, resamples: int, confidence: float, seed: int) -> dict[str, BenchmarkRow]:
    """A row per policy, in the order of `scores`; {} without benchmarks."""
    if not scores:
        return {}
    draws = {name: _draws(own, index, resamples, seed) for index, (name, own) in enumerate(scores.items())}
    means = {name: {policy: float(values_SP.mean()) for policy, values_SP in own.items()} for name, own in scores.items()}
    policies = list(next(iter(scores.values())))
    average = {policy: float(np.mean([means[name][policy] for name in scores])) for policy in policies}
    drawn: dict[str, Floats] = {policy: np.mean([draws[name][policy] for name in scores], axis=0) for policy in policies}

    def row(policy: str) -> BenchmarkRow:
        own = {name: percentile_interval(means[name][policy], draws[name][policy], confidence) for name in scores}
        compared = policy != GRPO and GRPO in average
        gain = percentile_interval(average[policy] - average[GRPO], drawn[policy] - drawn[GRPO], confidence) if compared else None
        return BenchmarkRow(own, percentile_interval(average[policy], drawn[policy], confidence), gain)

    return {policy: row(policy) for policy in policies}


def _draws(scores: Mapping[str, Floats], index: int, resamples: int, seed: int) -> dict[str, Floats]:
    """The mean of each resample, [R], by policy. Seeds are drawn alike for every benchmark, problems for each on its own."""
    seeds, problems = next(iter(scores.values())).shape
    weights_RS = np.random.default_rng([seed, 0]).multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    rng = np.random.default_rng([seed, 1 + index])
    sums = {policy: np.empty(resamples) for policy in scores}
    for r in range(resamples):
        weights_P = rng.multinomial(problems, np.full(problems, 1 / problems)) / problems
        for policy, values_SP in scores.items():
            sums[policy][r] = weights_RS[r] @ values_SP @ weights_P
    return sums


def benchmark_rows(rows: Mapping[str, BenchmarkRow], labels: Mapping[str, str] | None = None) -> tuple[list[str], list[list[str]]]:
    """Header and cells: a row per policy, a column per benchmark, the average, and what it gains on GRPO."""
    names = list(next(iter(rows.values())).scores)
    cells = [
        [
            labels[policy] if labels else policy_label(policy),
            *(numbers.score(row.scores[name].value) for name in names),
            numbers.interval(row.average),
            numbers.difference(row.to_grpo),
        ]
        for policy, row in rows.items()
    ]
    return ["policy", *names, "average of benchmarks", "minus GRPO"], cells


def benchmark_cells(metric: str, row: BenchmarkRow | None) -> dict[str, Interval | None]:
    """The columns of a row of table.csv, by their names; {} without benchmarks."""
    if row is None:
        return {}
    own = {f"{metric} benchmark={name}": found for name, found in row.scores.items()}
    return {**own, f"{metric} benchmarks": row.average, f"{metric} benchmarks minus GRPO": row.to_grpo}
