"""Uncertainty over few training seeds and many held-out problems: pure functions of arrays `values_SP` (seed by problem).

A score of a method varies with the training seed and with the choice of problems. All seeds are evaluated on the same problems, so
the two are crossed: what one problem does to all seeds does not average out over seeds. Resampling a handful of seeds gives
intervals that are too narrow (of eight seeds, 95% intervals by percentiles hold the truth 84 to 90% of the time), so bounds are
made from variances, with the quantile of Student's t that so few seeds ask for. Differences are paired by seed and by problem.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from npo_pipeline.analysis.statistics import Interval, students_interval, t_interval
from npo_pipeline.errors import DataError

Floats = NDArray[np.float64]

EXACT_SEEDS = 20  # up to here all 2^S sign patterns are gone through
SIGN_SAMPLES = 1 << 16  # random patterns beyond
ROUNDING = 1e-12  # sums that differ by less are equal: the observed pattern counts itself


def crossed_interval(values_SP: Floats, confidence: float) -> Interval:
    """The mean of all values, with an interval over seeds and problems, both drawn at random; of one seed over problems alone.

    The variance of the mean of a crossed design is (MS_seed + MS_problem - MS_rest) / (S P), its degrees of freedom are
    Satterthwaite's (1946, Biometrics Bulletin 2), at least S - 1: Searle, Casella and McCulloch 1992, chapter 4. Raises DataError
    without values.
    """
    if values_SP.ndim != 2 or 0 in values_SP.shape:
        raise DataError(f"interval: scores of the shape {values_SP.shape}, expected at least one seed and one problem")
    seeds, problems = values_SP.shape
    if min(seeds, problems) == 1:
        return t_interval(values_SP.ravel(), confidence) or Interval(*[float(values_SP.mean())] * 3)
    rest, freedom_of_rest = _rest(values_SP), (seeds - 1) * (problems - 1)
    squares = [problems * values_SP.mean(axis=1).var(ddof=1), seeds * values_SP.mean(axis=0).var(ddof=1), rest]
    spread = max(squares[0] + squares[1] - rest, rest)  # no less than if neither seed nor problem mattered
    spoilt = sum(square**2 / freedom for square, freedom in zip(squares, (seeds - 1, problems - 1, freedom_of_rest), strict=True))
    freedom = max(spread**2 / spoilt, seeds - 1) if spoilt else seeds - 1
    return students_interval(float(values_SP.mean()), float(np.sqrt(spread / values_SP.size)), freedom, confidence)


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
