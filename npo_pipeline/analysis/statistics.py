"""Held-out scores and their confidence intervals: pure functions of counts, used by the evaluate stage and by the report.

The problem is the unit of everything: a problem's samples are correlated, so intervals come from resampling problems
(percentile bootstrap), never single samples. An interval therefore covers the choice of problems, not that of the training seed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from npo_pipeline.errors import ConfigError, DataError

CELLS = 4_000_000  # resampled indices held in memory at a time


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds of its confidence interval, all in the unit of the values."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0.0 or self.high < 0.0


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of `k` of the `n` samples is right, where `c` of them are: 1 - C(n-c, k) / C(n, k).

    Unbiased for the policy's own pass@k (Chen et al. 2021, arXiv 2107.03374). Raises ConfigError where n, c and k do not fit.
    """
    if not 1 <= k <= n:
        raise ConfigError(f"evaluate.ks: k={k} with evaluate.samples={n}: expected 1 <= k <= samples. Lower k or raise evaluate.samples")
    if not 0 <= c <= n:
        raise DataError(f"pass@{k}: {c} correct of {n} samples: expected 0 to {n}. The evaluation is damaged: delete it and evaluate again")
    if n - c < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1, dtype=np.float64)))


def bootstrap_mean(values: Sequence[float], resamples: int, confidence: float, seed: int) -> Interval:
    """Mean of one value per problem with its percentile-bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    The order of `values` does not matter. Values that are all equal give an interval without width: the bootstrap cannot
    see what never happened. Raises DataError without values.
    """
    if not len(values):
        raise DataError("bootstrap: no values, expected one per problem. Evaluate at least one problem (task.eval_size)")
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return percentile_interval(float(ordered.mean()), _resampled_means(ordered, resamples, seed), confidence)


def percentile_interval(value: float, draws_R: NDArray[np.float64], confidence: float) -> Interval:
    """`value` with the middle share `confidence` of its resamples."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws_R, [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))


def t_interval(values: Sequence[float] | NDArray[np.float64], confidence: float) -> Interval | None:
    """The mean of independent values with Student's interval. None for a single one: it has no spread."""
    if len(values) < 2:
        return None
    return students_interval(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))), len(values) - 1, confidence)


def students_interval(value: float, error: float, freedom: float, confidence: float) -> Interval:
    """`value` with the bounds that Student's t gives it: a standard error, known with so many degrees of freedom."""
    reach = float(stats.t.ppf((1.0 + confidence) / 2.0, freedom)) * error
    return Interval(value, value - reach, value + reach)


def _resampled_means(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """The mean of each resample, shape (resamples,), in chunks that keep the index matrix small."""
    rng = np.random.default_rng(seed)
    n, rows = len(values), max(1, CELLS // len(values))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([values[rng.integers(0, n, (size, n))].mean(axis=1) for size in sizes])


def bootstrap_difference(a: Mapping[str, float], b: Mapping[str, float], resamples: int, confidence: float, seed: int) -> Interval:
    """Mean of a - b over the problems that both hold, paired by problem id. Raises DataError if they share none."""
    shared = sorted(a.keys() & b.keys())
    if not shared:
        raise DataError(
            f"bootstrap: two evaluations of {len(a)} and {len(b)} problems share no problem id, expected the same problems. "
            "Delete the older one and evaluate again"
        )
    return bootstrap_mean([a[key] - b[key] for key in shared], resamples, confidence, seed)


def for_all(confidence: float, count: int) -> float:
    """The confidence of each of `count` intervals at which all of them hold at once with at least `confidence`, however they hang together.

    Bonferroni's inequality: Dunn 1961, Journal of the American Statistical Association 56. Example: .99 for each of five makes .95.
    """
    return 1.0 - (1.0 - confidence) / max(1, count)


def problem_scores(correct: int, samples: int, ks: Sequence[int]) -> dict[str, float]:
    """The scores of one problem, by the name of the metric. Example: 1 of 2, ks (1, 2): mean@2 .5, pass@1 .5, pass@2 1."""
    return {f"mean@{samples}": correct / samples} | {f"pass@{k}": pass_at_k(samples, correct, k) for k in ks}


def mean_scores(scores: Sequence[Mapping[str, float]], resamples: int, confidence: float, seed: int) -> dict[str, Interval]:
    """The interval of each metric, over `scores`: one mapping per problem."""
    return {name: bootstrap_mean([row[name] for row in scores], resamples, confidence, seed) for name in scores[0]} if scores else {}


def by_difficulty(problem_ids: Sequence[str], difficulty: Mapping[str, str]) -> dict[str, list[str]]:
    """Problem ids of each difficulty; numbers in numeric order, then labels in alphabetical order.

    Raises DataError naming a problem that has no difficulty.
    """
    groups: dict[str, list[str]] = {}
    for problem_id in sorted(problem_ids):
        if problem_id not in difficulty:
            raise DataError(f"{problem_id}: no difficulty known, expected one for each evaluated problem. Evaluate again after `prepare`")
        groups.setdefault(difficulty[problem_id], []).append(problem_id)
    return {label: groups[label] for label in sorted(groups, key=_numeric_first)}


def _numeric_first(label: str) -> tuple[int, float, str]:
    try:
        number = float(label)
    except ValueError:
        number = float("nan")
    return (0, number, label) if np.isfinite(number) else (1, 0.0, label)


def summarise(
    counts: Mapping[str, int],
    samples: int,
    ks: Sequence[int],
    difficulty: Mapping[str, str],
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """The statistics part of an evaluation file, ready for JSON.

    `counts` holds the number of verified-correct responses of each problem, out of `samples`; `difficulty` its label. Returns samples,
    n_problems, ks, bootstrap (the settings behind the intervals), overall, difficulty and correct. Raises ConfigError or DataError.
    """
    scores = {problem_id: problem_scores(counts[problem_id], samples, ks) for problem_id in sorted(counts)}
    if not scores:
        raise DataError("evaluation: no problems, expected at least one. Raise task.eval_size and run `prepare` again")
    groups = by_difficulty(list(scores), difficulty)

    def table(ids: Iterable[str]) -> dict[str, Any]:
        return {name: asdict(interval) for name, interval in mean_scores([scores[i] for i in ids], resamples, confidence, seed).items()}

    return {
        "samples": samples,
        "n_problems": len(scores),
        "ks": list(ks),
        "bootstrap": {"resamples": resamples, "confidence": confidence, "seed": seed},
        "overall": table(scores),
        "difficulty": {label: {"n_problems": len(ids), **table(ids)} for label, ids in groups.items()},
        "correct": {problem_id: int(counts[problem_id]) for problem_id in scores},
    }
