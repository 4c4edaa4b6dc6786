"""Q, V and S of one (current step t, guide step g): the effective learning signal (PAPER, S = Q / V).

Q = n_covered / n_failed: of the prompts that pi_t failed entirely (no verified sample in its group), the share for which g has
a verified-correct trajectory.

V is estimated from the verified guide trajectories, re-scored under pi_t. With d = log pi_t - log pi_g per token (nats):
- kl_token   = mean over tokens of exp(d) - 1 - d, the k3 estimate of KL(pi_g || pi_t) per token, never negative;
- chi2_token = mean over tokens of (exp(d) - 1)^2, the chi-square divergence per token, i.e. the variance of the token ratio pi_t / pi_g,
  whose mean under pi_g is 1; never negative, where the mean of exp(2 d) - 1, which estimates the same, often is;
- ess        = (sum W)^2 / (n sum W^2) with the sequence ratio W = exp(sum of d): the effective share of the sample, in (0, 1].
V is exp(beta * kl_token) ("exp_kl", the form of PAPER's AutoNPO), 1 + chi2_token ("chi2") or 1 / ess ("ess"): at least 1.

Standard errors are over prompts, by the delta method: of V by the jackknife over trajectories (Efron and Tibshirani 1993, chapter 11),
of S from Var(log S) = (1 - Q) / (n Q) + (v_se / V)^2. V is a mean over the covered prompts alone, so whether a prompt is covered and
what its trajectory costs do not covary in it. Q there is (n_covered + 1/2) / (n_failed + 1), or one of n in n would be certain.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npo_pipeline.configuration.settings import VarianceConfig

LogRatios = Sequence[Sequence[float]]  # d per token, per trajectory


def signal(failed: Sequence[str], covered: Sequence[str], log_ratios: LogRatios, settings: VarianceConfig) -> dict[str, Any]:
    """Q, V, S and their ingredients. NaN where there is nothing to compute from; S is 0 where nothing is covered."""
    q = len(covered) / len(failed) if failed else math.nan
    cost = divergences(log_ratios)
    v = variance_cost(cost, settings)
    s = 0.0 if q == 0.0 else q / v
    errors = {"v_se": (v_se := variance_error(log_ratios, settings)), "s_se": signal_error(len(failed), len(covered), v, v_se)}
    return {"n_failed": len(failed), "n_covered": len(covered), "q": q, **cost, "v": v, "s": s, **errors}


def signal_error(n_failed: int, n_covered: int, v: float, v_se: float | None) -> float:
    """The standard error of S = Q / V; NaN where that of V is not known (None in tables that were made before it was)."""
    if not n_failed or v_se is None:
        return math.nan
    q = (n_covered + 0.5) / (n_failed + 1)
    return n_covered / n_failed / v * math.sqrt((1.0 - q) / ((n_failed + 1) * q) + (v_se / v) ** 2)


def variance_error(log_ratios: LogRatios, settings: VarianceConfig) -> float:
    """The standard error of V over the trajectories that it was estimated from; NaN for fewer than two."""
    rows = [np.asarray(row, dtype=np.float64) for row in log_ratios if len(row)]
    if len(rows) < 2:
        return math.nan
    left_out = [variance_cost(cost, settings) for cost in _without_each(rows)]
    return float(np.sqrt((len(rows) - 1) * np.var(left_out)))


def _without_each(rows: Sequence[NDArray[np.float64]]) -> Iterator[dict[str, float]]:
    """The divergences without each trajectory in turn, from what each adds to their sums."""
    logs = np.array([row.sum() for row in rows])
    weights = np.exp(logs - logs.max())
    parts = [(len(row), np.sum(np.exp(row) - 1.0 - row), np.sum(np.expm1(row) ** 2)) for row in rows]
    sums_R5 = np.column_stack([np.array(parts), weights, weights**2])
    for tokens, kl, chi2, weight, square in sums_R5.sum(axis=0) - sums_R5:
        ess = weight**2 / ((len(rows) - 1) * square) if square > 0.0 else math.nan
        yield {"kl_token": kl / tokens, "chi2_token": chi2 / tokens, "ess": ess}


def divergences(log_ratios: LogRatios) -> dict[str, float]:
    """kl_token, chi2_token and ess of the module's docstring."""
    rows = [np.asarray(row, dtype=np.float64) for row in log_ratios if len(row)]
    if not rows:
        return {"kl_token": math.nan, "chi2_token": math.nan, "ess": math.nan}
    d = np.concatenate(rows)
    sums = np.array([row.sum() for row in rows])
    weights = np.exp(sums - sums.max())  # scaling cancels in the effective sample size and keeps it finite
    return {
        "kl_token": float(np.mean(np.exp(d) - 1.0 - d)),
        "chi2_token": float(np.mean(np.expm1(d) ** 2)),
        "ess": float(weights.sum() ** 2 / (len(weights) * (weights**2).sum())),
    }


def variance_cost(cost: dict[str, float], settings: VarianceConfig) -> float:
    return estimates(cost, settings.beta)[settings.estimator]


def estimates(cost: dict[str, float], beta: float) -> dict[str, float]:
    """V by every estimator."""
    return {"exp_kl": float(np.exp(beta * cost["kl_token"])), "chi2": 1.0 + cost["chi2_token"], "ess": 1.0 / cost["ess"]}
