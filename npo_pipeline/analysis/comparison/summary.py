"""One row per policy: the figures that the table, the figures and the findings are all taken from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from npo_pipeline.analysis import series
from npo_pipeline.analysis.benchmarks import BenchmarkRow, benchmark_scores, summarise_benchmarks
from npo_pipeline.analysis.comparison.groups import difficulty_groups
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.uncertainty import Floats, Spread, crossed_interval, ratio_over_units, sign_flip_p, spread
from npo_pipeline.analysis.methods import label
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.statistics import Interval, t_interval
from npo_pipeline.analysis.summary import steps_to_grpo
from npo_pipeline.storage.layout import averaged


@dataclass(frozen=True)
class Difference:
    """A paired difference of the average. The last two need several seeds. Where seeds have several initial policies, over these."""

    crossed: Interval  # over seeds and problems
    seeds: Interval | None  # over seeds alone
    p: float | None  # sign-flip over seeds, two-sided


@dataclass(frozen=True)
class Speed:
    """How soon the smoothed training reward came to what GRPO of the same seed ends at; means over the seeds that came there."""

    steps_S: tuple[int | None, ...]  # None: not reached
    grpo_steps: float | None  # GRPO's own, of the seeds that the method reached it in
    ratio: float | None  # grpo_steps / steps
    interval: Interval | None  # of the ratio, over seeds; None with fewer than two

    @property
    def reached(self) -> int:
        return sum(step is not None for step in self.steps_S)

    @property
    def everywhere(self) -> bool:
        return self.reached == len(self.steps_S)

    @property
    def steps(self) -> float | None:
        return mean([step for step in self.steps_S if step is not None])


@dataclass(frozen=True)
class Row:
    """One policy. Training and cost are means over seeds; None where unknown, or where there was no training."""

    policy: str
    label: str
    groups: Mapping[str, Interval]
    average: Interval
    seed_means: tuple[float, ...]
    to_grpo: Difference | None  # None for GRPO itself
    speed: Speed | None  # None for the initial policy and for averages, as all that follows down to `injected`
    slow_speed: Speed | None  # the same with the reward smoothed four times as far
    steps: int | None
    reward: float | None  # smoothed, at the end
    entropy: float | None  # nats per token, smoothed, at the end
    injected: float | None
    own_tokens: float | None
    total_tokens: float | None  # with the probe, guides and demonstrations that it needs
    own_seconds: float | None
    total_seconds: float | None
    own_gpu_hours: float | None
    total_gpu_hours: float | None
    own_cpu_hours: float | None
    total_cpu_hours: float | None
    compute_ratio: float | None  # total_tokens over GRPO's
    benchmarks: BenchmarkRow | None  # None where there are none
    to_average: Difference | None = None  # of an average: to that of GRPO; None for the others, and for that itself
    spread: Spread | None = None  # of the average over initial policies and seeds; None where it cannot be told
    spread_to_grpo: Spread | None = None  # of the difference to GRPO of the same seed; None for GRPO itself


def mean(found: Sequence[float | None]) -> float | None:
    """None without values, or where one is unknown."""
    known = [value for value in found if value is not None and np.isfinite(value)]
    return fmean(known) if known and len(known) == len(found) else None


def summarise_comparison(comparison: Comparison) -> list[Row]:
    """In the order of the table's rows."""
    return _rows(comparison, comparison.policies)


def summarise_averages(comparison: Comparison) -> list[Row]:
    """Of the averaged policies, in the order of their runs; [] where none were made."""
    return _rows(comparison, comparison.averages)


def _rows(comparison: Comparison, shown: Sequence[str]) -> list[Row]:
    groups = group_intervals(comparison)
    stage = comparison.stage
    found = benchmark_scores(comparison.results, [*comparison.policies, *comparison.averages], seed_means=False)
    shares = {name: {policy: comparison.units(values_SP) for policy, values_SP in own.items()} for name, own in found.items()}
    benchmarks = summarise_benchmarks(shares, stage.resamples, stage.confidence, stage.seed)

    def row(policy: str) -> Row:
        return _row(comparison, policy, {name: found[policy] for name, found in groups.items()}, benchmarks.get(policy))

    return [row(policy) for policy in shown]


def group_problems(comparison: Comparison) -> dict[str, list[str]]:
    """Problem ids of each column of the table."""
    difficulty = {key: problem.difficulty for key, problem in comparison.results.problems.items()}
    return difficulty_groups(comparison.problem_ids, difficulty)


def group_intervals(comparison: Comparison) -> dict[str, dict[str, Interval]]:
    """The score of each policy in each column. Every column is of its own problems."""
    place = {problem_id: i for i, problem_id in enumerate(comparison.problem_ids)}
    columns = {name: [place[problem_id] for problem_id in ids] for name, ids in group_problems(comparison).items()}
    return {
        name: {policy: score(comparison, values_SP[:, own]) for policy, values_SP in comparison.scores.items()}
        for name, own in columns.items()
    }


def score(comparison: Comparison, values_SP: Floats) -> Interval:
    """The mean of shares, whose interval ends where shares do."""
    found = crossed_interval(comparison.units(values_SP), comparison.stage.confidence)
    return Interval(found.value, max(found.low, 0.0), min(found.high, 1.0))


def difference(comparison: Comparison, policy: str, other: str) -> Difference:
    """`policy` minus `other`, paired by seed and problem."""
    difference_UP = comparison.units(comparison.scores[policy] - comparison.scores[other])
    crossed = crossed_interval(difference_UP, comparison.stage.confidence, comparison.at_once)
    each = difference_UP.mean(axis=1).tolist()
    return Difference(crossed, t_interval(each, comparison.confidence), sign_flip_p(each))


def difference_facts(found: Difference) -> dict[str, Any]:
    """As findings hold it."""
    return {"value": found.crossed.value, "interval": [found.crossed.low, found.crossed.high]} | {
        "seeds_interval": [found.seeds.low, found.seeds.high] if found.seeds else None,
        "p": found.p,
    }


def speed(comparison: Comparison, policy: str, weight: float) -> Speed:
    """Step 0 counts as one step in ratios, or a run that starts at GRPO's level would be infinitely fast."""
    seeds = comparison.results.seeds
    steps_S, grpo_S = (tuple(steps_to_grpo(seed, name, weight) for seed in seeds) for name in (policy, GRPO))
    both = zip(comparison.units_S, grpo_S, steps_S, strict=True)
    reached = [(unit, max(1, grpo), max(1, own)) for unit, grpo, own in both if grpo is not None and own is not None]
    if not reached:
        return Speed(steps_S, None, None, None)
    units, theirs, mine = zip(*reached, strict=True)
    interval = ratio_over_units(theirs, mine, units, comparison.stage.confidence)
    return Speed(steps_S, fmean(theirs), sum(theirs) / sum(mine), interval)


def _row(comparison: Comparison, policy: str, groups: Mapping[str, Interval], benchmarks: BenchmarkRow | None) -> Row:
    seeds, costs = comparison.results.seeds, [costs[policy] for costs in comparison.costs]
    trained = policy in comparison.results.runs
    alike = averaged(GRPO) if policy in comparison.averages and policy != averaged(GRPO) else None
    runs = [seed.runs[policy] for seed in seeds] if trained else []
    means = comparison.scores[policy].mean(axis=1).tolist()
    gains = (comparison.scores[policy] - comparison.scores[GRPO]).mean(axis=1).tolist()
    return Row(
        policy=policy,
        label=label(policy),
        groups=groups,
        average=score(comparison, comparison.scores[policy]),
        seed_means=tuple(means),
        to_grpo=None if policy == GRPO else difference(comparison, policy, GRPO),
        speed=speed(comparison, policy, series.EMA_WEIGHT) if trained else None,
        slow_speed=speed(comparison, policy, series.SLOW_WEIGHT) if trained else None,
        steps=max((series.steps(run)[-1] + 1 for run in runs), default=None),
        reward=mean([series.last(series.ema(series.values(run, "reward/mean"))) for run in runs]),
        entropy=mean([series.last(series.ema(series.values(run, "entropy"))) for run in runs]),
        injected=mean([sum(row["guide/injected"] or 0 for row in run.metrics) for run in runs]),
        own_tokens=mean([cost.own.tokens for cost in costs]),
        total_tokens=mean([cost.total.tokens for cost in costs]),
        own_seconds=mean([cost.own.seconds for cost in costs]),
        total_seconds=mean([cost.total.seconds for cost in costs]),
        own_gpu_hours=mean([cost.own.gpu_hours for cost in costs]),
        total_gpu_hours=mean([cost.total.gpu_hours for cost in costs]),
        own_cpu_hours=mean([cost.own.cpu_hours for cost in costs]),
        total_cpu_hours=mean([cost.total.cpu_hours for cost in costs]),
        compute_ratio=_compute_ratio(comparison, policy),
        benchmarks=benchmarks,
        to_average=difference(comparison, policy, alike) if alike else None,
        spread=spread(means, comparison.starts_S),
        spread_to_grpo=None if policy == GRPO else spread(gains, comparison.starts_S),
    )


def _compute_ratio(comparison: Comparison, policy: str) -> float | None:
    own, grpo = (mean([costs[name].total.tokens for costs in comparison.costs]) for name in (policy, GRPO))
    return own / grpo if own is not None and grpo else None
