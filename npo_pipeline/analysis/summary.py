"""One row per policy: the figures that tables, key numbers and the outcome in words are all taken from.

With several seeds a problem's score is its mean over the seeds before problems are resampled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from npo_pipeline.analysis import series
from npo_pipeline.analysis.benchmarks import BenchmarkRow, benchmark_scores, summarise_benchmarks
from npo_pipeline.analysis.methods import contenders
from npo_pipeline.analysis.results import GRPO, Evaluation, Results, Run, SeedResults, policy_label
from npo_pipeline.analysis.statistics import Interval, bootstrap_difference, by_difficulty, for_all, mean_scores, problem_scores
from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.layout import averaged

Scores = dict[str, dict[str, float]]  # problem id -> metric -> score
AVERAGED_NOTE = (
    "Averaged: the mean of the weights of a run's checkpoints in its last steps, on a grid that all runs keep; its difference to GRPO "
    "averaged alike says what a method is worth beside averaging."
)


@dataclass(frozen=True)
class Training:
    """How a run went, as the mean over seeds. Steps are None unless every seed reached the mark."""

    steps: int
    reward: float  # smoothed, at the end
    entropy: float  # nats per token, smoothed, at the end
    steps_to_grpo: float | None  # until the smoothed reward first reaches what GRPO's ends at
    injected: float  # guide slots over the whole run
    windows: float | None  # guided windows; None of a method that has none
    tokens: float | None  # sampled in training; None where it was not logged
    seconds: float | None  # spent in training; None where it was not logged


@dataclass(frozen=True)
class PolicySummary:
    """One policy. `to_grpo`, `to_initial` and `to_average` are paired differences of the headline metric, mean@samples."""

    policy: str
    label: str
    overall: Mapping[str, Interval]
    difficulty: Mapping[str, Mapping[str, Interval]]
    sizes: Mapping[str, int]  # problems per difficulty
    seed_means: tuple[float, ...]  # headline metric of each seed
    benchmarks: BenchmarkRow | None  # None where there are none
    to_grpo: Interval | None  # None for GRPO itself
    to_grpo_for_all: Interval | None  # so wide that those of all contenders hold at once; None for the other policies
    to_initial: Interval | None  # None for the initial policy
    training: Training | None  # None for the initial policy and for averages
    to_average: Interval | None = None  # of an average: to that of GRPO; None for the others, and for that itself


def headline(results: Results) -> str:
    """The metric that policies are compared by: mean@8 with 8 samples per problem."""
    return f"mean@{results.settings.samples}"


def summarise_policies(results: Results) -> list[PolicySummary]:
    """Summaries in the order initial, GRPO, methods. Raises ArtifactError where evaluations do not belong together."""
    return _summaries(results, results.policies)


def summarise_averages(results: Results) -> list[PolicySummary]:
    """Of the averaged policies: GRPO's, then the methods'; [] where none were made."""
    return _summaries(results, results.averages)


def _summaries(results: Results, shown: Sequence[str]) -> list[PolicySummary]:
    policies, settings = (*results.policies, *results.averages), results.settings
    scores = {policy: _seed_mean_scores(results, policy) for policy in policies}
    shares = benchmark_scores(results, policies, seed_means=True)
    rows = summarise_benchmarks(shares, settings.resamples, settings.confidence, settings.bootstrap_seed)
    return [_summarise(results, policy, scores, rows.get(policy)) for policy in shown]


def _summarise(results: Results, policy: str, scores: Mapping[str, Scores], benchmarks: BenchmarkRow | None) -> PolicySummary:
    groups = by_difficulty(list(scores[policy]), {key: problem.difficulty for key, problem in results.problems.items()})
    own, seeds, rivals = scores[policy], results.seeds, contenders(results.methods)
    return PolicySummary(
        policy=policy,
        label=policy_label(policy),
        overall=_intervals(results.settings, list(own.values())),
        difficulty={label: _intervals(results.settings, [own[i] for i in ids]) for label, ids in groups.items()},
        sizes={label: len(ids) for label, ids in groups.items()},
        seed_means=tuple(fmean(seed.evaluations[policy].correct.values()) / results.settings.samples for seed in seeds),
        benchmarks=benchmarks,
        to_grpo=None if policy == GRPO else _difference(results, scores, policy, GRPO),
        to_grpo_for_all=_difference(results, scores, policy, GRPO, len(rivals)) if policy in rivals else None,
        to_initial=None if policy == "initial" else _difference(results, scores, policy, "initial"),
        training=_training(seeds, policy) if policy in results.runs else None,
        to_average=_difference(results, scores, policy, averaged(GRPO)) if policy in results.averages[1:] else None,
    )


def _seed_mean_scores(results: Results, policy: str) -> Scores:
    """Each problem's scores, as the mean over the seeds that evaluated it."""
    gathered: dict[str, list[dict[str, float]]] = {}
    for seed in results.seeds:
        evaluation = seed.evaluations[policy]
        check_settings(results, evaluation, f"seed-{seed.seed}/evaluation/{policy}.json")
        for problem_id, correct in evaluation.correct.items():
            gathered.setdefault(problem_id, []).append(problem_scores(correct, evaluation.samples, evaluation.ks))
    return {key: {name: fmean(row[name] for row in rows) for name in rows[0]} for key, rows in sorted(gathered.items())}


def check_settings(results: Results, evaluation: Evaluation, name: str) -> None:
    """Raise ArtifactError unless the evaluation was made as the others were, on the same problems."""
    found, expected = ((e.samples, e.ks, e.temperature, len(e.correct)) for e in (evaluation, results.settings))
    problems, others = ({name: set(own) for name, own in {**e.benchmarks, "": e.correct}.items()} for e in (evaluation, results.settings))
    if found != expected or problems != others:
        raise ArtifactError(
            f"{name}: samples, ks, temperature, number of problems are {found}, expected {expected} and the same problems as in the other "
            f"evaluations of {results.name}. Delete it and run `evaluate` again."
        )


def _intervals(settings: Evaluation, rows: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    return mean_scores(rows, settings.resamples, settings.confidence, settings.bootstrap_seed)


def _difference(results: Results, scores: Mapping[str, Scores], policy: str, baseline: str, at_once: int = 1) -> Interval:
    metric, settings = headline(results), results.settings
    a, b = ({key: row[metric] for key, row in scores[name].items()} for name in (policy, baseline))
    return bootstrap_difference(a, b, settings.resamples, for_all(settings.confidence, at_once), settings.bootstrap_seed)


def _training(seeds: Sequence[SeedResults], policy: str) -> Training:
    runs = [seed.runs[policy] for seed in seeds]
    marks = [steps_to_grpo(seed, policy) for seed in seeds]
    return Training(
        steps=max(series.steps(run)[-1] + 1 for run in runs),
        reward=fmean(series.last(series.ema(series.values(run, "reward/mean"))) for run in runs),
        entropy=fmean(series.last(series.ema(series.values(run, "entropy"))) for run in runs),
        steps_to_grpo=_mean_if_all(marks),
        injected=fmean(sum(row["guide/injected"] or 0 for row in run.metrics) for run in runs),
        windows=_mean_if_all([len(run.schedule.windows) if run.schedule else None for run in runs]),
        tokens=_mean_if_all([run_tokens(run) for run in runs]),
        seconds=_mean_if_all([total(run.timings, "seconds") for run in runs]),
    )


def run_tokens(run: Run) -> float | None:
    """Tokens that the run itself sampled; None where a step did not log them."""
    return total([{"tokens": series.step_tokens(row)} for row in run.metrics], "tokens")


def steps_to_grpo(seed: SeedResults, policy: str, weight: float = series.EMA_WEIGHT) -> int | None:
    """The first step at which the run's smoothed reward reaches what GRPO of the same seed ends at; None if it never does."""
    target = series.last(series.ema(series.values(seed.runs[GRPO], "reward/mean"), weight))
    return series.first_reaching(seed.runs[policy], "reward/mean", target, weight)


def total(rows: Sequence[Mapping[str, float | None]], key: str) -> float | None:
    """Sum of a logged figure; None where a step lacks it."""
    found = [row.get(key) for row in rows]
    return sum(value for value in found if value is not None) if found and None not in found else None


def _mean_if_all(found: Sequence[float | None]) -> float | None:
    known = [value for value in found if value is not None]
    return fmean(known) if len(known) == len(found) else None
