"""AutoNPO's walk along the probe's log, to a schedule.

The walk sees at step T what an online run would have seen: metrics up to T, and the confirmation that guide checkpoint T (the
policy at T) made of the mistake pool before it. An intervention goes back Delta* steps and is guided by T.
"""

import math
from collections.abc import Sequence

from npo_pipeline.configuration.settings import MethodConfig
from npo_pipeline.guidance.autonpo.decision import Row, decide
from npo_pipeline.guidance.autonpo.triggers import Trend, trends
from npo_pipeline.guidance.schedule import Schedule, Window
from npo_pipeline.guidance.signal import signal_error


def plan_autonpo(name: str, method: MethodConfig, metrics: Sequence[Row], signal: Sequence[Row], lookback: int, start: int = 0) -> Schedule:
    """Walk the probe's `metrics` (one row per step) and decide at each guide checkpoint of `signal`, which looked `lookback` steps back.

    The run to be guided begins at `start`: no window reaches back further. The walk itself begins with the log.

    Decisions are taken at guide checkpoints only, since only there a confirmation roll-out exists: a warning raised in between
    waits for the next one.
    """
    settings = method.autonpo
    assert settings is not None, "checked with the configuration"
    seen = trends([row["reward/mean"] for row in metrics], [row["entropy"] for row in metrics], settings)
    windows: list[Window] = []
    decisions: list[Row] = []
    after = start
    for guide in sorted({row["guide_step"] for row in signal}):
        quiet_until = windows[-1].to_step + settings.cooldown if windows else 0
        warned = [trend for trend in seen if trend.warning and max(after, quiet_until) < trend.step <= guide]
        after = guide
        if warned:
            account, chosen = decide(warned[-1], slices([row for row in signal if row["guide_step"] == guide]), settings)
            decisions.append(account)
            windows += _window(windows, chosen, account["reason"], method, max(guide - lookback, start))
    return Schedule(name, windows, [*decisions, _closing(len(metrics), seen, windows, decisions)])


def slices(rows: Sequence[Row]) -> list[Row]:
    """A guide checkpoint's candidates: Q of one at distance Delta is that of all prompts that were failed in the last Delta steps (PAPER).

    A row of signal.parquet holds what was failed while its own current policy acted; V stays that policy's. A prompt that
    was failed under two of them, where an epoch is shorter than the lookback, counts twice.
    """
    candidates: list[Row] = []
    failed = covered = 0
    for row in sorted(rows, key=lambda row: row["distance"]):
        failed, covered = failed + row["n_failed"], covered + row["n_covered"]
        q = covered / failed if failed else math.nan
        s, s_se = 0.0 if q == 0.0 else q / row["v"], signal_error(failed, covered, row["v"], row["v_se"])
        candidates.append({**row, "n_failed": failed, "n_covered": covered, "q": q, "s": s, "s_se": s_se})
    return candidates[::-1]


def _window(earlier: Sequence[Window], chosen: Row | None, reason: str, method: MethodConfig, since: int) -> list[Window]:
    """[guide - Delta*, guide), cut where the guide tried nothing before `since` or an earlier intervention already guides; may be empty."""
    if chosen is None:
        return []
    guide = chosen["guide_step"]
    start = max([guide - chosen["distance"], since, *(window.to_step for window in earlier)])
    return [Window(start, guide, guide, method.gate, method.correction, reason)] if start < guide else []


def _closing(steps: int, seen: Sequence[Trend], windows: Sequence[Window], decisions: Sequence[Row]) -> Row:
    """The closing remark: where nothing was done, the file says why."""
    if decisions:
        why = f"{len(decisions)} warnings at guide checkpoints, {len(windows)} interventions"
    else:
        last = f"; at the end: gain {seen[-1].reward_gain:+.4f}, entropy drop {seen[-1].entropy_drop:.1%}" if seen else ""
        why = f"no intervention: the reward kept rising or the entropy did not decline{last}"
    return {"step": steps, "warning": False, "confirmed": None, "candidates": [], "chosen": None, "reason": why}
