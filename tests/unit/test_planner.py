"""AutoNPO offline, on recorded signals with known right answers."""

import math
import random

import pytest

from npo_pipeline.guidance.planner import plan_autonpo
from npo_pipeline.guidance.schedule import Schedule
from npo_pipeline.guidance.triggers import trends
from npo_pipeline.settings import AutoNpoConfig, MethodConfig

SETTINGS = AutoNpoConfig(ema=0.2, patience=10, min_gain=0.01, entropy_drop=0.05, min_coverage=0.1, cooldown=20)
METHOD = MethodConfig(kind="autonpo", gate=0.6, correction=False, autonpo=SETTINGS)


def metrics(rewards: list[float], entropies: list[float]) -> list[dict]:
    return [{"step": i, "reward/mean": r, "entropy": e} for i, (r, e) in enumerate(zip(rewards, entropies, strict=True))]


def signal(guides: list[int], coverage: float = 0.5) -> list[dict]:
    """S is highest at distance 10."""
    return [
        {
            "guide_step": g,
            "current_step": g - d,
            "distance": d,
            "n_failed": 100,
            "n_covered": int(100 * coverage),
            "q": coverage,
            "v": 1.0,
            "s": coverage - abs(d - 10) / 100,
        }
        for g in guides
        for d in (5, 10, 20)
    ]


def falling(n: int) -> list[float]:
    return [2.0 * math.exp(-0.02 * i) for i in range(n)]


def plan(rewards: list[float], entropies: list[float], **kwargs: float) -> Schedule:
    return plan_autonpo("autonpo", METHOD, metrics(rewards, entropies), signal([40, 60, 80], **kwargs))


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
