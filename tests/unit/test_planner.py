"""AutoNPO offline, on recorded signals with known right answers."""

import math
import random
from dataclasses import replace

import pytest

from npo_pipeline.configuration.settings import AutoNpoConfig, MethodConfig
from npo_pipeline.guidance.autonpo.decision import decide
from npo_pipeline.guidance.autonpo.planner import plan_autonpo, slices
from npo_pipeline.guidance.autonpo.triggers import trends
from npo_pipeline.guidance.schedule import Schedule

SETTINGS = AutoNpoConfig(ema=0.2, patience=10, min_gain=0.01, entropy_drop=0.05, min_coverage=0.1, cooldown=20)
LOOKBACK = 30
METHOD = MethodConfig(kind="autonpo", gate=0.6, correction=False, autonpo=SETTINGS)


def metrics(rewards: list[float], entropies: list[float]) -> list[dict]:
    return [{"step": i, "reward/mean": r, "entropy": e} for i, (r, e) in enumerate(zip(rewards, entropies, strict=True))]


def signal(guides: list[int], coverage: float = 0.5, v_se: float | None = 0.0) -> list[dict]:
    """S is highest at distance 10: Q is the same at all of them, and V lowest there."""
    return [
        {
            "guide_step": g,
            "current_step": g - d,
            "distance": d,
            "n_failed": 100,
            "n_covered": int(100 * coverage),
            "q": coverage,
            "v": 1.0 + abs(d - 10) / 100,
            "s": coverage / (1.0 + abs(d - 10) / 100),
            "v_se": v_se,
        }
        for g in guides
        for d in (5, 10, 20)
    ]


def falling(n: int) -> list[float]:
    return [2.0 * math.exp(-0.02 * i) for i in range(n)]


def plan(rewards: list[float], entropies: list[float], **kwargs: float) -> Schedule:
    return plan_autonpo("autonpo", METHOD, metrics(rewards, entropies), signal([40, 60, 80], **kwargs), LOOKBACK)


def test_a_rising_reward_triggers_nothing():
    schedule = plan([i / 80 for i in range(80)], falling(80))
    assert schedule.windows == []
    assert "no intervention" in schedule.decisions[-1]["reason"]


def test_noise_triggers_nothing():
    rng = random.Random(0)
    schedule = plan([i / 80 + rng.gauss(0, 0.02) for i in range(80)], [1.0 + rng.gauss(0, 0.02) for _ in range(80)])
    assert schedule.windows == []


def test_a_falling_reward_with_rising_entropy_triggers_nothing():
    assert plan([1 - i / 80 for i in range(80)], [1 + i / 80 for i in range(80)]).windows == []


def test_a_plateau_triggers_and_goes_back_to_the_highest_s():
    rewards = [min(i / 30, 1.0) for i in range(80)]
    window = plan(rewards, falling(80)).windows[0]
    assert (window.from_step, window.to_step, window.guide_step) == (50, 60, 60)
    assert "Delta* = 10" in window.reason


def test_a_candidate_stands_for_all_that_was_failed_in_its_last_steps():
    rows = [(40, 10, 10, 4.0), (45, 10, 0, math.nan), (50, 0, 0, math.nan), (55, 5, 0, 2.0)]
    found = slices(
        [
            {
                "guide_step": 60,
                "current_step": t,
                "distance": 60 - t,
                "n_failed": n,
                "n_covered": k,
                "q": 0.5,
                "v": v,
                "s": 0.5,
                "v_se": 0.1,
            }
            for t, n, k, v in rows
        ]
    )
    assert [(row["distance"], row["n_failed"], row["n_covered"], row["q"]) for row in found[1:]] == [
        (15, 15, 0, 0),
        (10, 5, 0, 0),
        (5, 5, 0, 0),
    ]
    assert (found[0]["n_failed"], found[0]["n_covered"], found[0]["q"], found[0]["s"]) == (25, 10, 0.4, 0.1)
    assert [row["s"] for row in found[1:]] == [0.0, 0.0, 0.0]


def test_a_slice_whose_cost_is_unknown_is_not_chosen():
    row = {"guide_step": 60, "n_failed": 10, "q": 0.5, "s": 0.1, "v_se": 0.1}
    near = {**row, "current_step": 55, "distance": 5, "n_covered": 5, "v": 2.0}
    far = {**row, "current_step": 50, "distance": 10, "n_covered": 0, "v": math.nan}
    account, chosen = decide(trends([0.5] * 40, falling(40), SETTINGS)[-1], slices([near, far]), SETTINGS)
    assert chosen is not None
    assert (chosen["distance"], account["coverage"]) == (5, 0.25)


def decided(choice: str, s_se: float | None, *candidates: tuple[int, float]) -> tuple[dict, dict]:
    place = {"current_step": 0, "guide_step": 60, "n_failed": 40, "n_covered": 20, "q": 0.5, "v": 1.0, "s_se": s_se}
    account, chosen = decide(
        trends([0.5] * 40, falling(40), SETTINGS)[-1],
        [{**place, "distance": d, "s": s} for d, s in candidates],
        replace(SETTINGS, choice=choice),
    )
    assert chosen is not None
    return account, chosen


@pytest.mark.parametrize(
    ("s_se", "near", "chosen"),
    [(0.05, [30], 30), (0.11, [15, 30], 15), (0.16, [15, 30, 45], 15), (0.5, [5, 15, 30, 45], 5), (math.nan, [5, 15, 30, 45], 5)],
)
def test_the_nearest_of_what_cannot_be_told_from_the_highest_s(s_se: float, near: list[int], chosen: int):
    candidates = ((5, 0.2), (15, 0.5), (30, 0.6), (45, 0.45))
    account, row = decided("one_standard_error", s_se, *candidates)
    assert (account["within_one_error"], account["chosen"], row["distance"]) == (near, chosen, chosen)
    assert ("nearest within one standard error" in account["reason"]) is (len(near) > 1)
    assert account["candidates"][0]["s_se"] == (None if math.isnan(s_se) else s_se)
    argmax, row = decided("argmax", s_se, *candidates)
    assert (argmax["within_one_error"], row["distance"]) == (near, 30)
    assert ("not told from that of" in argmax["reason"]) is (len(near) > 1)


def test_a_table_without_errors_tells_nothing_from_its_maximum():
    assert decided("one_standard_error", None, (5, 0.2), (15, 0.5))[1]["distance"] == 5
    assert decided("argmax", None, (5, 0.2), (15, 0.5))[1]["distance"] == 15


def test_a_slices_error_is_that_of_its_own_q_and_of_its_current_policys_v():
    """Q = 20 of 40 so far, of which (20.5 / 41) = 1/2 counts for the error: Var(log S) = .5 / (41 * .5) + (.3 / 1.5)^2."""
    rows = [
        {
            "guide_step": 60,
            "current_step": 60 - d,
            "distance": d,
            "n_failed": 20,
            "n_covered": 10,
            "q": 0.5,
            "v": 1.5,
            "s": 0.3,
            "v_se": 0.3,
        }
        for d in (5, 10)
    ]
    far, near = slices(rows)
    assert far["s_se"] == pytest.approx(0.5 / 1.5 * math.sqrt(1 / 41 + 0.04))
    assert near["s_se"] == pytest.approx(0.5 / 1.5 * math.sqrt(1 / 21 + 0.04))
    assert math.isnan(slices([{**rows[0], "v_se": None}])[0]["s_se"])


def test_where_no_guide_is_known_to_help_the_account_says_so():
    row = {
        "guide_step": 60,
        "current_step": 50,
        "distance": 10,
        "n_failed": 4,
        "n_covered": 3,
        "q": math.nan,
        "v": math.nan,
        "s": math.nan,
        "s_se": math.nan,
    }
    account, chosen = decide(trends([0.5] * 40, falling(40), SETTINGS)[-1], [row, {**row, "n_covered": 0, "q": 0.0, "s": 0.0}], SETTINGS)
    assert (chosen, account["confirmed"], account["chosen"]) == (None, False, None)
    assert "no guide is known to solve any of the mistake pool" in account["reason"]


def test_a_window_starts_no_earlier_than_its_guide_looked_back():
    rows = [{**row, "v": 1.0 if row["distance"] == 20 else 9.0} for row in signal([40, 60, 80])]
    reach = {
        lookback: plan_autonpo("autonpo", METHOD, metrics([0.5] * 80, falling(80)), rows, lookback).windows[0] for lookback in (12, 30)
    }
    assert {lookback: (window.from_step, window.to_step) for lookback, window in reach.items()} == {12: (28, 40), 30: (20, 40)}


def test_the_cooldown_holds():
    windows = plan([0.5] * 80, falling(80)).windows
    assert [window.guide_step for window in windows] == [40, 80]


def test_an_unsolved_mistake_pool_is_not_confirmed():
    schedule = plan([0.5] * 80, falling(80), coverage=0.05)
    assert schedule.windows == []
    assert all(not d["confirmed"] for d in schedule.decisions)
    assert "not confirmed" in schedule.decisions[0]["reason"]


def test_no_lookahead():
    rng = random.Random(1)
    rewards, entropies = [rng.random() for _ in range(60)], [rng.random() for _ in range(60)]
    whole = trends(rewards, entropies, SETTINGS)
    for end in range(SETTINGS.patience + 1, 60):
        assert trends(rewards[:end], entropies[:end], SETTINGS) == whole[: end - SETTINGS.patience]


def test_moving_averages_by_hand():
    settings = AutoNpoConfig(ema=0.5, patience=1, min_gain=0.01, entropy_drop=0.05, min_coverage=0.1, cooldown=0)
    assert [trend.reward_ema for trend in trends([1.0, 0.0, 1.0], [1.0, 1.0, 1.0], settings)] == [0.5, 0.75]


@pytest.mark.parametrize("steps", [0, 5, 10])
def test_a_run_shorter_than_the_patience_is_no_trend(steps: int):
    assert trends([0.5] * steps, [1.0] * steps, SETTINGS) == []


def test_a_run_that_begins_later_is_planned_from_there():
    """The walk begins with the log; what was warned of until the start is past, and no window reaches back over it."""
    rewards, entropies = [min(i, 20) / 20 for i in range(80)], falling(80)
    whole = plan_autonpo("autonpo", METHOD, metrics(rewards, entropies), signal([40, 60, 80]), LOOKBACK)
    assert (whole.windows[0].from_step, whole.windows[0].to_step) == (50, 60)
    late = plan_autonpo("autonpo", METHOD, metrics(rewards, entropies), signal([60, 80]), LOOKBACK, start=55)
    assert (late.windows[0].from_step, late.windows[0].to_step) == (55, 60)


def test_rewards_that_no_log_tells_leave_the_averages_as_they_were():
    known = trends([0.5] * 30, falling(30), SETTINGS)
    gaps = trends([None] * 5 + [0.5] * 30, [None] * 5 + falling(30), SETTINGS)
    assert [(t.step - 5, t.reward_gain, t.warning) for t in gaps] == [(t.step, t.reward_gain, t.warning) for t in known]
    assert trends([0.5] * 30, [None] * 30, SETTINGS) == []
