"""Uncertainty over training seeds and held-out problems: pure functions of arrays `values_SP` (seed by problem).

A score of a method varies with the training seed and with the choice of problems. All seeds are evaluated on the same problems, so
the two are crossed: a resample draws seeds and, once for all of these, problems (the pigeonhole bootstrap: Owen 2007,
arXiv 0712.1111, slightly too wide rather than too narrow). Drawing problems anew within each seed would treat what one problem
does to all seeds as chance that averages out, and give intervals that are too narrow. Every method shares each draw: differences
are paired by seed and by problem.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npo_pipeline.analysis.statistics import CELLS, Interval, bootstrap_mean, percentile_interval
from npo_pipeline.errors import DataError

Floats = NDArray[np.float64]

EXACT_SEEDS = 20  # up to here all 2^S sign patterns are gone through
SIGN_SAMPLES = 1 << 16  # random patterns beyond
ROUNDING = 1e-12  # sums that differ by less are equal: the observed pattern counts itself


@dataclass(frozen=True)
class Draws:
    """Means of each method, and of each resample of seeds and problems. One seed: only problems are resampled."""

    means: Mapping[str, float]
    draws_R: Mapping[str, Floats]
    confidence: float

    def mean(self, method: str) -> Interval:
        return percentile_interval(self.means[method], self.draws_R[method], self.confidence)

    def difference(self, method: str, other: str) -> Interval:
        """The mean of `method` minus that of `other`, paired."""
        draws = self.draws_R[method] - self.draws_R[other]
        return percentile_interval(self.means[method] - self.means[other], draws, self.confidence)


def draw(scores: Mapping[str, Floats], resamples: int, confidence: float, seed: int) -> Draws:
    """Resample the scores of all methods together. `scores` maps each to values_SP, all of one shape. Raises DataError without values."""
    shapes = {values_SP.shape for values_SP in scores.values()}
    if len(shapes) != 1 or 0 in next(iter(shapes)):
        raise DataError(f"bootstrap: scores of the shapes {sorted(shapes)}, expected one shape of at least one seed and one problem")
    seeds, problems = next(iter(shapes))
    rng, rows = np.random.default_rng(seed), max(1, CELLS // problems)
    chunks: dict[str, list[Floats]] = {name: [] for name in scores}
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        weights_RS, weights_RP = _weights(rng, seeds, size), _weights(rng, problems, size)
        for name, values_SP in scores.items():
            chunks[name].append(((weights_RS @ values_SP) * weights_RP).sum(axis=1))
    means = {name: float(values_SP.mean()) for name, values_SP in scores.items()}
    return Draws(means, {name: np.concatenate(parts) for name, parts in chunks.items()}, confidence)


def _weights(rng: np.random.Generator, count: int, rows: int) -> Floats:
    """How often each of `count` things is drawn when `count` are drawn with replacement, as a share; shape (rows, count)."""
    return rng.multinomial(count, np.full(count, 1.0 / count), size=rows) / count


def seed_interval(differences_S: Sequence[float], resamples: int, confidence: float, seed: int) -> Interval | None:
    """Mean over seeds of a paired difference, with an interval from resampling seeds alone. None for one seed: it has no spread."""
    return bootstrap_mean(differences_S, resamples, confidence, seed) if len(differences_S) > 1 else None


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


def ratio_interval(
    numerators_S: Sequence[float], denominators_S: Sequence[float], resamples: int, confidence: float, seed: int
) -> Interval | None:
    """Ratio of two means over the same seeds, with an interval from resampling seeds. None for fewer than two seeds."""
    top_S, bottom_S = np.asarray(numerators_S, dtype=np.float64), np.asarray(denominators_S, dtype=np.float64)
    if len(top_S) < 2:
        return None
    chosen = np.random.default_rng(seed).integers(0, len(top_S), (resamples, len(top_S)))
    draws_R = top_S[chosen].sum(axis=1) / bottom_S[chosen].sum(axis=1)
    return percentile_interval(float(top_S.sum() / bottom_S.sum()), draws_R, confidence)
