"""From a method's settings to a schedule: the configured windows, or AutoNPO's walk along the probe's log.

The walk sees at step T what an online run would have seen: metrics up to T, and the confirmation that guide checkpoint T (the
policy at T) made of the mistake pool before it. An intervention goes back Delta* steps and is guided by T.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from npo_pipeline.config import AutoNpoConfig, MethodConfig
from npo_pipeline.guidance.schedule import Schedule, Window
from npo_pipeline.guidance.triggers import Trend, trends

Row = dict[str, Any]  # of metrics.jsonl or signal.parquet


def plan_manual(name: str, method: MethodConfig) -> Schedule:
    reason = f"configured in method.{name}.windows"
    return Schedule(name, [Window(w.from_step, w.to_step, w.guide_step, method.gate, method.correction, reason) for w in method.windows])


def plan_autonpo(name: str, method: MethodConfig, metrics: Sequence[Row], signal: Sequence[Row]) -> Schedule:
    """Walk the probe's `metrics` (one row per step) and decide at each guide checkpoint of `signal`.

    Decisions are taken at guide checkpoints only, since only there a confirmation roll-out exists: a warning raised in between
    waits for the next one.
    """
    settings = method.autonpo
    assert settings is not None, "checked with the configuration"
    seen = trends([row["reward/mean"] for row in metrics], [row["entropy"] for row in metrics], settings)
    windows: list[Window] = []
    decisions: list[Row] = []
    after = 0
    for guide in sorted({row["guide_step"] for row in signal}):
        quiet_until = windows[-1].to_step + settings.cooldown if windows else 0
        warned = [trend for trend in seen if trend.warning and max(after, quiet_until) < trend.step <= guide]
        after = guide
        if warned:
            decision = _decide(warned[-1], guide, [row for row in signal if row["guide_step"] == guide], settings)
            decisions.append(decision)
            windows += _window(windows, decision, method)
    return Schedule(name, windows, [*decisions, _closing(len(metrics), seen, windows, decisions)])


def _decide(warned: Trend, guide: int, rows: Sequence[Row], settings: AutoNpoConfig) -> Row:
    """Confirmation and distance: coverage of the mistake pool, then the candidate with the highest S (the nearer of equals)."""
    failed, covered = sum(row["n_failed"] for row in rows), sum(row["n_covered"] for row in rows)
    coverage = covered / failed if failed else 0.0
    usable = [row for row in rows if not math.isnan(row["s"])]
    confirmed = bool(usable) and coverage >= settings.min_coverage
    chosen = max(usable, key=lambda row: (row["s"], -row["distance"])) if confirmed else None
    keys = ("distance", "current_step", "guide_step", "q", "v", "s")
    return {
        **_rounded(asdict(warned)),
        "guide_step": guide,
        "confirmed": confirmed,
        "coverage": round(coverage, 6),
        "candidates": [_rounded({key: row[key] for key in keys}) for row in rows],
        "chosen": chosen["distance"] if chosen else None,
        "reason": _reason(warned, guide, coverage, chosen, settings),
    }


def _rounded(row: Row) -> Row:
    """For a person's eyes: signal.parquet keeps every digit."""
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}


def _reason(warned: Trend, guide: int, coverage: float, chosen: Row | None, settings: AutoNpoConfig) -> str:
    seen = (
        f"warning after step {warned.step}: over {settings.patience} steps the reward's average gained {warned.reward_gain:+.4f} "
        f"(less than {settings.min_gain}) and the entropy's fell by {warned.entropy_drop:.1%} (more than {settings.entropy_drop:.1%})"
    )
    pool = f"checkpoint {guide} solves {coverage:.1%} of the mistake pool"
    if chosen is None:
        return f"{seen}; not confirmed: {pool} (less than {settings.min_coverage:.1%}), so no intervention"
    return f"{seen}; confirmed: {pool}; Delta* = {chosen['distance']} has the highest S = {chosen['s']:.4f}"


def _window(earlier: Sequence[Window], decision: Row, method: MethodConfig) -> list[Window]:
    """[guide - Delta*, guide), cut where an earlier intervention already guides; empty where nothing was chosen or is left."""
    if decision["chosen"] is None:
        return []
    guide = decision["guide_step"]
    start = max([guide - decision["chosen"], *(window.to_step for window in earlier)])
    return [Window(start, guide, guide, method.gate, method.correction, decision["reason"])] if start < guide else []


def _closing(steps: int, seen: Sequence[Trend], windows: Sequence[Window], decisions: Sequence[Row]) -> Row:
    """The closing remark: where nothing was done, the file says why."""
    if decisions:
        why = f"{len(decisions)} warnings at guide checkpoints, {len(windows)} interventions"
    else:
        last = f"; at the end: gain {seen[-1].reward_gain:+.4f}, entropy drop {seen[-1].entropy_drop:.1%}" if seen else ""
        why = f"no intervention: the reward kept rising or the entropy did not decline{last}"
    return {"step": steps, "warning": False, "confirmed": None, "candidates": [], "chosen": None, "reason": why}
