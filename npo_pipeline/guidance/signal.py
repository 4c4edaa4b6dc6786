"""Q, V and S of one (current step t, guide step g): the effective learning signal (PAPER, S = Q / V).

Q = n_covered / n_failed: of the prompts that pi_t failed entirely (no verified sample in its group), the share for which g has
a verified-correct trajectory.

V is estimated from the verified guide trajectories, re-scored under pi_t. With d = log pi_t - log pi_g per token (nats):
- kl_token   = mean over tokens of exp(d) - 1 - d, the k3 estimate of KL(pi_g || pi_t) per token, never negative;
- chi2_token = mean over tokens of exp(2 d), minus 1: the chi-square divergence, i.e. the variance of the token ratio pi_t / pi_g
  (floored at 0, where only noise can bring it lower);
- ess        = (sum W)^2 / (n sum W^2) with the sequence ratio W = exp(sum of d): the effective share of the sample, in (0, 1].
V is exp(beta * kl_token) ("exp_kl", the form of PAPER's AutoNPO), 1 + chi2_token ("chi2") or 1 / ess ("ess"): at least 1.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from npo_pipeline.configuration.settings import VarianceConfig

LogRatios = Sequence[Sequence[float]]  # d per token, per trajectory


def signal(failed: Sequence[str], covered: Sequence[str], log_ratios: LogRatios, settings: VarianceConfig) -> dict[str, Any]:
    """Q, V, S and their ingredients. NaN where there is nothing to compute from; S is 0 where nothing is covered."""
    q = len(covered) / len(failed) if failed else math.nan
    cost = divergences(log_ratios)
    v = variance_cost(cost, settings)
    s = 0.0 if q == 0.0 else q / v
    return {"n_failed": len(failed), "n_covered": len(covered), "q": q, **cost, "v": v, "s": s}


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
        "chi2_token": float(max(np.mean(np.exp(2.0 * d)) - 1.0, 0.0)),
        "ess": float(weights.sum() ** 2 / (len(weights) * (weights**2).sum())),
    }


def variance_cost(cost: dict[str, float], settings: VarianceConfig) -> float:
    return estimates(cost, settings.beta)[settings.estimator]


def estimates(cost: dict[str, float], beta: float) -> dict[str, float]:
    """V by every estimator."""
    return {"exp_kl": float(np.exp(beta * cost["kl_token"])), "chi2": 1.0 + cost["chi2_token"], "ess": 1.0 / cost["ess"]}
