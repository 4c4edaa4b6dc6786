"""One row per policy: the figures that the table, the figures and the findings are all taken from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from npo_pipeline.analysis import series
from npo_pipeline.analysis.benchmarks import BenchmarkRow, benchmark_scores, summarise_benchmarks
from npo_pipeline.analysis.comparison.bootstrap import draw, ratio_interval, seed_interval, sign_flip_p
from npo_pipeline.analysis.comparison.groups import difficulty_groups
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.methods import INITIAL, label
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.statistics import Interval
from npo_pipeline.analysis.summary import steps_to_grpo


@dataclass(frozen=True)
class Difference:
    """A paired difference of the average. The last two need several seeds."""

    crossed: Interval  # seeds and problems resampled
    seeds: Interval | None  # seeds resampled
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
    speed: Speed | None  # None for the initial policy, as all that follows down to `injected`
    steps: int | None
    reward: float | None  # smoothed, at the end
    entropy: float | None  # nats per token, smoothed, at the end
    injected: float | None
    own_tokens: float | None
    total_tokens: float | None  # with the probe, guides and demonstrations that it needs
    own_seconds: float | None
    total_seconds: float | None
    compute_ratio: float | None  # total_tokens over GRPO's
    benchmarks: BenchmarkRow | None  # None where there are none


def mean(found: Sequence[float | None]) -> float | None:
    """None without values, or where one is unknown."""
    known = [value for value in found if value is not None and np.isfinite(value)]
    return fmean(known) if known and len(known) == len(found) else None


def summarise_comparison(comparison: Comparison) -> list[Row]:
    """In the order of the table's rows."""
    groups = group_intervals(comparison)
    stage = comparison.stage
    shares = benchmark_scores(comparison.results, comparison.policies, seed_means=False)
    benchmarks = summarise_benchmarks(shares, stage.resamples, stage.confidence, stage.seed)

    def row(policy: str) -> Row:
        return _row(comparison, policy, {name: found[policy] for name, found in groups.items()}, benchmarks.get(policy))

    return [row(policy) for policy in comparison.policies]


def group_problems(comparison: Comparison) -> dict[str, list[str]]:
    """Problem ids of each column of the table."""
    difficulty = {key: problem.difficulty for key, problem in comparison.results.problems.items()}
    return difficulty_groups(comparison.problem_ids, difficulty)


def group_intervals(comparison: Comparison) -> dict[str, dict[str, Interval]]:
    """The score of each policy in each column. Every column resamples its own problems."""
    place = {problem_id: i for i, problem_id in enumerate(comparison.problem_ids)}
    stage, found = comparison.stage, {}
    for name, ids in group_problems(comparison).items():
        columns = [place[problem_id] for problem_id in ids]
        scores = {policy: values_SP[:, columns] for policy, values_SP in comparison.scores.items()}
        draws = draw(scores, stage.resamples, stage.confidence, stage.seed)
        found[name] = {policy: draws.mean(policy) for policy in scores}
    return found


def difference(comparison: Comparison, policy: str, other: str) -> Difference:
    """`policy` minus `other`, paired by seed and problem."""
    stage, scores = comparison.stage, comparison.scores
    per_seed = (scores[policy] - scores[other]).mean(axis=1).tolist()
    over_seeds = seed_interval(per_seed, stage.resamples, stage.confidence, stage.seed)
    return Difference(comparison.draws.difference(policy, other), over_seeds, sign_flip_p(per_seed))


def speed(comparison: Comparison, policy: str) -> Speed:
    """Step 0 counts as one step in ratios, or a run that starts at GRPO's level would be infinitely fast."""
    seeds, stage = comparison.results.seeds, comparison.stage
    steps_S, grpo_S = (tuple(steps_to_grpo(seed, name) for seed in seeds) for name in (policy, GRPO))
    pairs = [(max(1, grpo), max(1, own)) for grpo, own in zip(grpo_S, steps_S, strict=True) if grpo is not None and own is not None]
    if not pairs:
        return Speed(steps_S, None, None, None)
    theirs, mine = [grpo for grpo, _ in pairs], [own for _, own in pairs]
    interval = ratio_interval(theirs, mine, stage.resamples, stage.confidence, stage.seed)
    return Speed(steps_S, fmean(theirs), sum(theirs) / sum(mine), interval)


def _row(comparison: Comparison, policy: str, groups: Mapping[str, Interval], benchmarks: BenchmarkRow | None) -> Row:
    seeds, costs = comparison.results.seeds, [costs[policy] for costs in comparison.costs]
    trained = policy != INITIAL
    runs = [seed.runs[policy] for seed in seeds] if trained else []
    return Row(
        policy=policy,
        label=label(policy),
        groups=groups,
        average=comparison.draws.mean(policy),
        seed_means=tuple(comparison.scores[policy].mean(axis=1).tolist()),
        to_grpo=None if policy == GRPO else difference(comparison, policy, GRPO),
        speed=speed(comparison, policy) if trained else None,
        steps=max((len(run.metrics) for run in runs), default=None),
        reward=mean([series.last(series.ema(series.values(run, "reward/mean"))) for run in runs]),
        entropy=mean([series.last(series.ema(series.values(run, "entropy"))) for run in runs]),
        injected=mean([sum(row["guide/injected"] or 0 for row in run.metrics) for run in runs]),
        own_tokens=mean([cost.own.tokens for cost in costs]),
        total_tokens=mean([cost.total.tokens for cost in costs]),
        own_seconds=mean([cost.own.seconds for cost in costs]),
        total_seconds=mean([cost.total.seconds for cost in costs]),
        compute_ratio=_compute_ratio(comparison, policy),
        benchmarks=benchmarks,
    )


def _compute_ratio(comparison: Comparison, policy: str) -> float | None:
    own, grpo = (mean([costs[name].total.tokens for costs in comparison.costs]) for name in (policy, GRPO))
    return own / grpo if own is not None and grpo else None
