"""A plateau is found where there is one, on runs made by hand; the slope's interval holds what it should."""

import numpy as np
import pytest

from npo_pipeline.analysis.plateau import plateau, slope
from npo_pipeline.analysis.results import Run


def run_of(reward, all_wrong: float = 0.5) -> Run:
    return Run(tuple({"step": i, "reward/mean": float(r), "groups/all_wrong": all_wrong} for i, r in enumerate(reward)))


def noisy(levels: np.ndarray, seed: int = 0) -> np.ndarray:
    return levels + np.random.default_rng(seed).normal(0, 0.03, len(levels))


def test_a_line_has_its_slope() -> None:
    found = slope(0.2 + 0.01 * np.arange(100))
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = [s.low <= 0.1 <= s.high for s in (slope(noisy(0.001 * np.arange(100), seed)) for seed in range(400))]
    assert 0.92 <= np.mean(held) <= 0.98


def test_rising_then_flat_is_a_plateau_since_the_bend() -> None:
    found = plateau(run_of(noisy(np.minimum(np.arange(200) / 60, 1.0) * 0.4)))
    assert found is not None
    assert found.there
    assert found.since is not None
    assert 40 <= found.since <= 100


def test_a_reward_that_does_not_move_at_all_is_flat() -> None:
    """A task of few levels may stand on one of them to the last digit."""
    found = plateau(run_of(np.minimum(np.arange(200) / 90, 1.0) * 0.5))
    assert found is not None
    assert (found.slope.low, found.slope.high, found.there) == (0.0, 0.0, True)


@pytest.mark.parametrize(
    ("reward", "all_wrong"),
    [(np.arange(200) / 250, 0.5), (np.full(200, 0.9), 0.05), (np.full(200, 0.1), 0.9), (np.repeat([0.4, 0.2], 100), 0.5)],
)
def test_still_rising_or_solved_or_never_learned_or_spoilt_is_none(reward: np.ndarray, all_wrong: float) -> None:
    found = plateau(run_of(noisy(reward), all_wrong))
    assert found is not None
    assert not found.there


def test_where_noise_hides_a_slope_no_plateau_is_claimed() -> None:
    """A run that rises all along, by .15 in 100 steps; its last half alone does not show it."""
    reward = 0.2 + 0.0015 * np.arange(120)
    found = [plateau(run_of(reward + np.random.default_rng(seed).normal(0, 0.1, 120))) for seed in range(200)]
    assert np.mean([not one.slope.excludes_zero for one in found if one]) > 0.5
    assert np.mean([one.there for one in found if one]) < 0.05


def test_too_short_to_tell() -> None:
    assert plateau(run_of(np.zeros(39))) is None
