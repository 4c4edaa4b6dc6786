"""Uncertainty over few training seeds and many held-out problems: pure functions of arrays `values_SP` (seed by problem).

A score of a method varies with the training seed and with the choice of problems. All seeds are evaluated on the same problems, so
the two are crossed: what one problem does to all seeds does not average out over seeds. Resampling a handful of seeds gives
intervals that are too narrow (of eight seeds, 95% intervals by percentiles hold the truth 84 to 90% of the time), so bounds are
made from variances, with the quantile of Student's t that so few seeds ask for. Differences are paired by seed and by problem.

Where seeds start from several initial policies they are nested in these: seeds of one start share what their start brings. The mean
over the seeds of each start (by_start) then takes the place of the seed in all that is below: of a balanced design the variance of
the grand mean is (MS_start + MS_problem - MS_start:problem) / (S P), whatever seeds add within a start (Searle, Casella and McCulloch
1992, chapter 4), with the degrees of freedom of the starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npo_pipeline.analysis.statistics import Interval, for_all, students_interval, t_interval
from npo_pipeline.errors import DataError

Floats = NDArray[np.float64]

EXACT_SEEDS = 20  # up to here all 2^S sign patterns are gone through
SIGN_SAMPLES = 1 << 16  # random patterns beyond
ROUNDING = 1e-12  # sums that differ by less are equal: the observed pattern counts itself


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a score, in its unit: of what an initial policy brings, and of what a seed brings to one of them."""

    starts: float
    seeds: float


def by_start(values_SX: Floats, starts_S: Sequence[int]) -> Floats:
    """The mean over the seeds of each initial policy, in the order in which these first come: start by whatever X is."""
    return np.array([values_SX[np.asarray(starts_S) == start].mean(axis=0) for start in dict.fromkeys(starts_S)])


def spread(values_S: Sequence[float], starts_S: Sequence[int]) -> Spread | None:
    """The two components of the variance of a seed's score, by the analysis of variance of a nested design; one below 0 is shown as 0.

    None without a second start, or where no start has a second seed. Example: scores .1 and .3 of one start, .5 and .7 of another:
    mean squares .16 (starts) and .02 (seeds), so standard deviations of sqrt((.16 - .02) / 2) = .265 and .141.
    """
    values, starts = np.asarray(values_S, dtype=np.float64), np.asarray(starts_S)
    groups = [values[starts == start] for start in dict.fromkeys(starts_S)]
    within, between = len(values) - len(groups), len(groups) - 1
    if not within or not between:
        return None
    seeds = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / within
    squares = sum(len(group) * float((group.mean() - values.mean()) ** 2) for group in groups) / between
    size = (len(values) - sum(len(group) ** 2 for group in groups) / len(values)) / between
    return Spread(float(np.sqrt(max(squares - seeds, 0.0) / size)), float(np.sqrt(seeds)))


def crossed_interval(values_SP: Floats, confidence: float, at_once: int = 1) -> Interval:
    """The mean of all values, with an interval over seeds and problems, both drawn at random; of one seed over problems alone.

    `at_once`: so many such intervals hold together (for_all). That far out Satterthwaite's degrees of freedom are too many for a handful
    of seeds: of intervals of 99.2%, 2.3 in 100 missed with 4 seeds and 6.7 with 2 (simulated, 256 problems). So the least are taken.

    The variance of the mean of a crossed design is (MS_seed + MS_problem - MS_rest) / (S P), its degrees of freedom are
    Satterthwaite's (1946, Biometrics Bulletin 2), at least S - 1: Searle, Casella and McCulloch 1992, chapter 4. Raises DataError
    without values.
    """
    if values_SP.ndim != 2 or 0 in values_SP.shape:
        raise DataError(f"interval: scores of the shape {values_SP.shape}, expected at least one seed and one problem")
    seeds, problems = values_SP.shape
    if min(seeds, problems) == 1:
        return t_interval(values_SP.ravel(), for_all(confidence, at_once)) or Interval(*[float(values_SP.mean())] * 3)
    rest, freedom_of_rest = _rest(values_SP), (seeds - 1) * (problems - 1)
    squares = [problems * values_SP.mean(axis=1).var(ddof=1), seeds * values_SP.mean(axis=0).var(ddof=1), rest]
    spread = max(squares[0] + squares[1] - rest, rest)  # no less than if neither seed nor problem mattered
    spoilt = sum(square**2 / freedom for square, freedom in zip(squares, (seeds - 1, problems - 1, freedom_of_rest), strict=True))
    least = min(seeds, problems) - 1
    freedom = least if at_once > 1 else max(spread**2 / spoilt, seeds - 1) if spoilt else seeds - 1
    return students_interval(float(values_SP.mean()), float(np.sqrt(spread / values_SP.size)), freedom, for_all(confidence, at_once))


def _rest(values_SP: Floats) -> float:
    """The mean square of what neither seed nor problem explains."""
    mean_S1, mean_1P = values_SP.mean(axis=1, keepdims=True), values_SP.mean(axis=0, keepdims=True)
    rest_SP = values_SP - mean_S1 - mean_1P + values_SP.mean()
    return float((rest_SP**2).sum() / ((values_SP.shape[0] - 1) * (values_SP.shape[1] - 1)))


def ratio_interval(numerators_S: Sequence[float], denominators_S: Sequence[float], confidence: float) -> Interval | None:
    """Ratio of two means over the same seeds, all positive; its interval is Student's over the jackknife of its logarithm.

    Tukey's pseudo-values: Efron and Tibshirani 1993, chapter 11. None for fewer than two seeds.
    """
    top_S, bottom_S = np.asarray(numerators_S, dtype=np.float64), np.asarray(denominators_S, dtype=np.float64)
    if len(top_S) < 2:
        return None
    whole = np.log(top_S.sum() / bottom_S.sum())
    without_S = np.log((top_S.sum() - top_S) / (bottom_S.sum() - bottom_S))
    found = t_interval(len(top_S) * whole - (len(top_S) - 1) * without_S, confidence)
    assert found is not None
    reach = found.high - found.value
    return Interval(float(np.exp(whole)), float(np.exp(whole - reach)), float(np.exp(whole + reach)))


def ratio_over_units(
    numerators_S: Sequence[float], denominators_S: Sequence[float], units_S: Sequence[int], confidence: float
) -> Interval | None:
    """As ratio_interval, where seeds belong to units that were drawn at random: of the sums over the seeds of each."""
    numerators, denominators = (
        [sum(value for value, own in zip(values, units_S, strict=True) if own == unit) for unit in dict.fromkeys(units_S)]
        for values in (numerators_S, denominators_S)
    )
    return ratio_interval(numerators, denominators, confidence)


def sign_flip_p(differences_S: Sequence[float], seed: int = 0) -> float | None:
    """Two-sided p-value of a paired difference: the share of sign patterns whose sum is as far from zero as the observed one.

    Exact (Fisher 1935) up to 20 seeds, random patterns beyond. None for one seed, where it could only be 1.
    Example: eight differences of one sign give 2 / 2^8 = 0.0078, the least that eight seeds can give.
    """
    if len(differences_S) < 2:
        return None
    values_S = np.asarray(differences_S, dtype=np.float64)
    bound = abs(values_S.sum()) - ROUNDING * np.abs(values_S).sum()
    return float((np.abs(_signed_sums(values_S, seed)) >= bound).mean())


def _signed_sums(values_S: Floats, seed: int) -> Floats:
    """The sum under every pattern of signs, or under random ones (the observed among them) where there are too many."""
    if len(values_S) > EXACT_SEEDS:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (SIGN_SAMPLES, len(values_S)))
        return np.append(signs @ values_S, values_S.sum())
    sums = np.zeros(1)
    for value in values_S:
        sums = np.concatenate([sums + value, sums - value])
    return sums
