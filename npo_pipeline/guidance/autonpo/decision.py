"""AutoNPO's decision after a warning: confirmation by the mistake pool, then Delta* = argmax of S (PAPER, AutoNPO).

S is a ratio of estimates from a few dozen prompts, so its maximum is often told from its neighbours by nothing but chance. By the rule
"one_standard_error" (Breiman et al. 1984, section 3.4.3, for the size of a tree) Delta* is then the nearest candidate that lies within
one standard error of the maximum: the least foreign of what cannot be told apart.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from npo_pipeline.configuration.settings import AutoNpoConfig
from npo_pipeline.guidance.autonpo.triggers import Trend

Row = dict[str, Any]  # current_step, guide_step, distance, n_failed, n_covered, q, v, s, s_se, ...: as in signal.parquet
CANDIDATE = ("distance", "current_step", "guide_step", "n_failed", "n_covered", "q", "v", "s", "s_se")


def decide(warned: Trend, candidates: Sequence[Row], settings: AutoNpoConfig) -> tuple[Row, Row | None]:
    """The account of a decision, and the candidate chosen, by `settings.choice`; None where not confirmed.

    Confirmed: of the largest mistake pool of which anything is covered, at least the share `min_coverage` is. What covers nothing, or
    has an S that is unknown (NaN: too little to tell it from), is not chosen.
    """
    usable = [row for row in candidates if row["s"] > 0.0]
    coverage = max((row for row in candidates if row["q"] > 0.0), key=lambda row: row["n_failed"])["q"] if usable else 0.0
    confirmed = bool(usable) and coverage >= settings.min_coverage
    near = within_one_error(usable) if confirmed else []
    chosen = highest(usable) if confirmed else None
    if near and settings.choice == "one_standard_error":
        chosen = near[0]
    account = {
        **rounded(asdict(warned)),
        "confirmed": confirmed,
        "coverage": round(coverage, 6),
        "candidates": [rounded({key: row[key] for key in CANDIDATE}) for row in candidates],
        "within_one_error": [row["distance"] for row in near],
        "chosen": chosen["distance"] if chosen else None,
        "guide_step": chosen["guide_step"] if chosen else None,
        "reason": _reason(warned, coverage if usable else None, chosen, near, settings),
    }
    return account, chosen


def highest(candidates: Sequence[Row]) -> Row:
    """Of the highest S, the nearer of equals."""
    return max(candidates, key=lambda row: (row["s"], -row["distance"]))


def within_one_error(candidates: Sequence[Row]) -> list[Row]:
    """Those whose S is within one standard error of the highest S, the nearest first. Nothing is told from an S whose error is unknown."""
    best = highest(candidates)
    error = best["s_se"] if best["s_se"] is not None and math.isfinite(best["s_se"]) else math.inf
    return sorted((row for row in candidates if row["s"] >= best["s"] - error), key=lambda row: row["distance"])


def rounded(row: Row) -> Row:
    """For a person's eyes, and fit for JSON: signal.parquet keeps every digit."""
    shown = {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in shown.items()}


def _reason(warned: Trend, coverage: float | None, chosen: Row | None, near: Sequence[Row], settings: AutoNpoConfig) -> str:
    seen = (
        f"warning after step {warned.step}: over {settings.patience} steps the reward's average gained {warned.reward_gain:+.4f} "
        f"(less than {settings.min_gain}) and the entropy's fell by {warned.entropy_drop:.1%} (more than {settings.entropy_drop:.1%})"
    )
    if coverage is None:
        return f"{seen}; not confirmed: no guide is known to solve any of the mistake pool, so no intervention"
    pool = f"{coverage:.1%} of the mistake pool is covered"
    if chosen is None:
        return f"{seen}; not confirmed: {pool} (less than {settings.min_coverage:.1%}), so no intervention"
    rivals = ", ".join(str(row["distance"]) for row in near if row is not chosen)
    if settings.choice == "argmax":
        told = f", not told from that of {rivals}" if rivals else ""
        return f"{seen}; confirmed: {pool}; Delta* = {chosen['distance']} has the highest S = {chosen['s']:.4f}{told}"
    among = f" is the nearest within one standard error of the highest S, with {rivals}" if rivals else " has the highest S"
    return f"{seen}; confirmed: {pool}; Delta* = {chosen['distance']}{among}: S = {chosen['s']:.4f}"
