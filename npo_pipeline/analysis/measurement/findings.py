"""What a table of measured Q, V and S says of PAPER's claims: is Q concave, does V grow exponentially, has S an interior maximum,
and which estimate of V ranks the pairs as the measured V does.

Rows are those of measured.parquet. A fit over the distance weighs a point by its interval, and widens its own where the points scatter
more. The points of one current step share problems and groups, so what is drawn for them independently is too uncertain, not too sure.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ESTIMATORS = ("exp_kl", "chi2", "ess", "distance")  # the last is no estimate, but what PAPER's bound exp(beta * Delta) amounts to
MEASURES = ("measured", "importance", "clipped", "slot")
DRAWS = 2000  # of Q and V within their intervals, behind the certainty of a maximum
SURE = 0.95
FITS = 0.8  # R^2 from which on a law is said to fit

Floats = NDArray[np.float64]
Row = Mapping[str, Any]
Curve = tuple[Floats, Floats, Floats]  # distance; Q or log V; its standard error


def findings(rows: Sequence[Row], resamples: int, confidence: float) -> dict[str, Any]:
    """Ready for JSON: no NaN, unknowns are null. Per current step t and for their mean ("all"), and for each measure of V."""
    z = normal_quantile(confidence)
    q = curves(rows, "q", z)
    found: dict[str, Any] = {"schema": 1, "q": {t: concavity(curve, z) for t, curve in q.items()}}
    for measure in MEASURES:
        log_v = curves(rows, f"v_{measure}", z, logarithm=True)
        found[measure] = {
            "growth": {t: growth_shape(curve, z) for t, curve in log_v.items()},
            "peak": {t: peak(q[t], curve) for t, curve in log_v.items()},
            "rank_correlation": {name: rank_correlation(rows, name, measure, resamples, confidence) for name in ESTIMATORS},
            "beta": fit_beta(rows, measure, z),
        }
    return without_nan(found)


def curves(rows: Sequence[Row], key: str, z: float, logarithm: bool = False) -> dict[str, Curve]:
    """One curve over the distance per current step; "all" is their mean at the distances that all of them have."""
    found: dict[str, Curve] = {}
    for step in sorted({row["current_step"] for row in rows}):
        mine = sorted((row for row in rows if row["current_step"] == step), key=lambda row: row["distance"])
        found[str(step)] = columns(mine, "distance", key, z, logarithm)
    common = sorted(set.intersection(*({*x} for x, _, _ in found.values())))
    y, error = (np.array([[curve[i][curve[0] == d][0] for d in common] for curve in found.values()]) for i in (1, 2))
    return found | {"all": (np.array(common), y.mean(axis=0), np.sqrt((error**2).sum(axis=0)) / len(found))}


def concavity(q: Curve, z: float) -> dict[str, Any]:
    """The quadratic fit of Q over the distance (in units of the longest): negative curvature is concave."""
    x, y, error = q
    if len(x) < 4:
        return {"answer": "too few points"}
    value, half = fit(x / x.max(), y, error, 2, z)
    answer = "yes" if value + half < 0 else "no" if value - half > 0 else "open"
    share = float((np.diff(np.diff(y) / np.diff(x)) <= 0).mean())
    return {"answer": answer, "curvature": value, "low": value - half, "high": value + half, "negative_second_differences": share}


def growth_shape(log_v: Curve, z: float) -> dict[str, Any]:
    """log V over the distance (slope per step, R^2), against a line through V itself."""
    x, y, error = log_v
    if len(x) < 3:
        return {"answer": "too few points"}
    slope, half = fit(x, y, error, 1, z)
    exponential, linear = r_squared(x, y), r_squared(x, np.exp(y))
    facts = {"slope": slope, "low": slope - half, "high": slope + half, "r2_exponential": exponential, "r2_linear": linear}
    if slope - half <= 0:
        return {"answer": "falls" if slope + half < 0 else "no growth shown", **facts}
    if max(exponential, linear) < FITS:
        return {"answer": "grows, but neither exponentially nor linearly", **facts}
    return {"answer": "exponentially" if exponential >= linear else "no faster than linearly", **facts}


def peak(q: Curve, log_v: Curve) -> dict[str, Any]:
    """Where S = Q / V is highest, whether inside the measured range, and in which share of draws of Q and V it lies inside."""
    common = sorted({*q[0]} & {*log_v[0]})
    if len(common) < 3:
        return {"answer": "too few points"}
    (quality, q_error), (cost, v_error) = ([part[np.isin(curve[0], common)] for part in curve[1:]] for curve in (q, log_v))
    best, last, random = int(np.argmax(quality / np.exp(cost))), len(common) - 1, np.random.default_rng(0)
    drawn_q = np.maximum(0.0, random.normal(quality, q_error, (DRAWS, len(common))))
    drawn = np.argmax(drawn_q / np.exp(random.normal(cost, v_error, (DRAWS, len(common)))), axis=1)
    share = float(((drawn > 0) & (drawn < last)).mean())
    answer = "yes" if share >= SURE else "no" if share <= 1 - SURE else "open"
    return {"answer": answer, "distance": int(common[best]), "interior": 0 < best < last, "interior_in_draws": share}


def rank_correlation(rows: Sequence[Row], estimator: str, measure: str, resamples: int, confidence: float) -> dict[str, Any]:
    """Spearman's over all pairs, with a bootstrap interval over pairs; `ahead` without distance 0; `within` its mean per current step."""
    key = estimator if estimator == "distance" else f"v_{estimator}"
    known = [row for row in rows if math.isfinite(row[key]) and math.isfinite(row[f"v_{measure}"])]
    step, x, y, distance = (np.array([row[k] for row in known], dtype=float) for k in ("current_step", key, f"v_{measure}", "distance"))
    random = np.random.default_rng(0)
    drawn = [spearman(x[i], y[i]) for i in random.integers(0, len(x), (resamples, len(x)))] if len(x) > 2 else []
    drawn = [value for value in drawn if math.isfinite(value)]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]) if drawn else (math.nan, math.nan)
    ahead = distance > 0
    within = [spearman(x[ahead & (step == t)], y[ahead & (step == t)]) for t in np.unique(step)]
    within = [value for value in within if math.isfinite(value)]
    return {
        "value": spearman(x, y),
        "low": float(low),
        "high": float(high),
        "ahead": spearman(x[ahead], y[ahead]),
        "within": float(np.mean(within)) if within else math.nan,
        "pairs": len(x),
    }


def fit_beta(rows: Sequence[Row], measure: str, z: float) -> dict[str, Any]:
    """Least squares of log V on the per-token KL, with an intercept: V = exp(intercept + beta * KL)."""
    kl, log_v, error = columns(rows, "kl_token", f"v_{measure}", z, logarithm=True)
    if len(kl) < 3 or np.ptp(kl) == 0:
        return {"beta": math.nan}
    beta, _ = fit(kl, log_v, np.ones_like(error), 1, z)
    intercept = float(log_v.mean() - beta * kl.mean())
    scatter = max(float(np.sqrt(((log_v - intercept - beta * kl) ** 2).sum() / (len(kl) - 2))), 1e-9)
    _, half = fit(kl, log_v, np.full_like(error, scatter), 1, z)
    return {"beta": beta, "low": beta - half, "high": beta + half, "intercept": intercept, "r2": r_squared(kl, log_v)}


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation, ties at their mean rank; NaN for fewer than three points, or where either is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def ranks(values: Floats) -> Floats:
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[index]


def columns(rows: Sequence[Row], x_key: str, y_key: str, z: float, logarithm: bool = False) -> Curve:
    """x, y (or log y) and the standard error of y that its interval stands for, of the rows where all are known."""
    low, high = f"{y_key}_low", f"{y_key}_high"
    of = np.log if logarithm else np.asarray
    known = [row for row in rows if all(math.isfinite(row[key]) for key in (x_key, y_key, low, high)) and (not logarithm or row[low] > 0)]
    x, y, a, b = (np.array([row[key] for row in known], dtype=np.float64) for key in (x_key, y_key, low, high))
    return x, of(y), np.maximum((of(b) - of(a)) / (2 * z), 1e-9)


def fit(x: Floats, y: Floats, error: Floats, degree: int, z: float) -> tuple[float, float]:
    """The leading coefficient of a weighted polynomial fit, and half its interval."""
    design = np.vander(x, degree + 1) / error[:, None]
    coefficients, *_ = np.linalg.lstsq(design, y / error, rcond=None)
    scatter = float(((design @ coefficients - y / error) ** 2).sum()) / max(1, len(x) - degree - 1)
    covariance = np.linalg.pinv(design.T @ design) * max(1.0, scatter)
    return float(coefficients[0]), z * math.sqrt(covariance[0, 0])


def r_squared(x: Floats, y: Floats) -> float:
    """Of a straight line through the points, unweighted."""
    return float(np.corrcoef(x, y)[0, 1] ** 2) if np.ptp(x) > 0 and np.ptp(y) > 0 else math.nan


def normal_quantile(confidence: float) -> float:
    """z with P(|N(0, 1)| < z) = confidence: Newton's method on the error function."""
    z = 1.0
    for _ in range(50):
        z -= (math.erf(z / math.sqrt(2)) - confidence) / (math.sqrt(2 / math.pi) * math.exp(-z * z / 2))
    return z


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
