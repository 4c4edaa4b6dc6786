"""Q, V, S against float64 brute force and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.configuration.settings import VarianceConfig
from npo_pipeline.guidance.signal import divergences, estimates, signal, variance_error

EXP_KL = VarianceConfig("exp_kl", 1.0)
ratios = st.lists(st.lists(st.floats(-3.0, 1.0), min_size=1, max_size=5), min_size=1, max_size=5)


def test_by_hand():
    # Two tokens with pi_t / pi_g = 1/2 and 1: k3 = (0.5 - 1 + ln 2 + 0) / 2; chi-square (0.25 + 0) / 2.
    found = signal(["a", "b", "c"], ["a"], [[math.log(0.5), 0.0]], EXP_KL)
    kl = (0.5 - 1.0 + math.log(2.0)) / 2
    assert found["n_failed"] == 3
    assert found["n_covered"] == 1
    assert found["q"] == pytest.approx(1 / 3)
    assert found["kl_token"] == pytest.approx(kl)
    assert found["chi2_token"] == pytest.approx(0.125)
    assert found["ess"] == pytest.approx(1.0)
    assert found["v"] == pytest.approx(math.exp(kl))
    assert found["s"] == pytest.approx(1 / 3 / math.exp(kl))


def test_ess_by_hand():
    # Sequence weights 1 and 3: (1 + 3)^2 / (2 (1 + 9)) = 0.8.
    assert divergences([[0.0], [math.log(3.0) / 2, math.log(3.0) / 2]])["ess"] == pytest.approx(0.8)


@given(ratios)
def test_equals_brute_force(rows: list[list[float]]):
    flat = [d for row in rows for d in row]
    found = divergences(rows)
    weights = [math.exp(sum(row)) for row in rows]
    assert found["kl_token"] == pytest.approx(sum(math.exp(d) - 1 - d for d in flat) / len(flat), abs=1e-9)
    assert found["chi2_token"] == pytest.approx(sum((math.exp(d) - 1) ** 2 for d in flat) / len(flat), abs=1e-9)
    assert found["ess"] == pytest.approx(sum(weights) ** 2 / len(weights) / sum(w * w for w in weights))


@given(ratios, st.sampled_from(["exp_kl", "chi2", "ess"]))
def test_the_same_policy_costs_nothing_and_any_other_at_least_that(rows: list[list[float]], estimator: str):
    settings = VarianceConfig(estimator, 2.0)
    assert signal(["a"], ["a"], [[0.0] * len(row) for row in rows], settings)["v"] == pytest.approx(1.0)
    assert signal(["a"], ["a"], rows, settings)["v"] >= 1.0 - 1e-12


def test_extreme_sequence_ratios_stay_finite():
    assert divergences([[-2000.0], [0.0]])["ess"] == pytest.approx(0.5)


def test_nothing_failed_nothing_covered():
    assert math.isnan(signal([], [], [], EXP_KL)["q"])
    empty = signal(["a"], [], [], EXP_KL)
    assert (empty["q"], empty["s"]) == (0.0, 0.0)
    assert math.isnan(empty["v"])


def test_chi_square_grows_with_the_distance_also_where_the_guide_is_surer_of_every_token():
    """Trajectories of a guide are what it finds likely: d < 0 on nearly all tokens, where the mean of exp(2 d) - 1 is below 0."""
    costs = [divergences([[-0.1 * distance] * 4])["chi2_token"] for distance in range(4)]
    assert costs[0] == 0.0
    assert costs == sorted(set(costs))


def test_chi_square_is_estimated_without_bias():
    """Tokens of pi_g = (.7, .2, .1) under pi_t = (.5, .2, .3): sum of pi_t^2 / pi_g - 1."""
    guide, current = np.array([0.7, 0.2, 0.1]), np.array([0.5, 0.2, 0.3])
    tokens = np.random.default_rng(0).choice(3, 200_000, p=guide)
    found = divergences([np.log(current / guide)[tokens].tolist()])["chi2_token"]
    assert found == pytest.approx(float((current**2 / guide).sum() - 1), rel=0.02)


@pytest.mark.parametrize(("estimator", "least", "most"), [("exp_kl", 0.9, 1.2), ("chi2", 0.85, 1.25)])
def test_the_error_of_s_is_its_spread_over_prompts(estimator: str, least: float, most: float):
    """300 draws of 60 failed prompts, of which four in ten are covered, each by a trajectory that its own draw of ratios costs."""
    rng, settings = np.random.default_rng(1), VarianceConfig(estimator, 3.0)
    found = []
    for _ in range(300):
        covered = [f"p{i}" for i in range(60) if rng.random() < 0.4]
        rows = [rng.normal(-0.2 * rng.exponential(), 0.3, rng.integers(3, 9)).tolist() for _ in covered]
        found.append(signal([f"p{i}" for i in range(60)], covered, rows, settings))
    spread = np.std([row["s"] for row in found])
    assert least < np.mean([row["s_se"] for row in found]) / spread < most


def test_an_error_needs_two_trajectories():
    one = signal(["a", "b"], ["a"], [[-0.1, 0.2]], EXP_KL)
    assert math.isnan(one["v_se"])
    assert math.isnan(one["s_se"])
    assert signal(["a", "b"], ["a", "b"], [[-0.1], [-0.1]], EXP_KL)["v_se"] == pytest.approx(0.0, abs=1e-12)
    assert signal(["a", "b"], ["a", "b"], [[-0.1], [-0.1]], EXP_KL)["s_se"] > 0.0, "two of two is not certain"


@given(st.lists(st.lists(st.floats(-3.0, 1.0), min_size=1, max_size=4), min_size=2, max_size=5), st.sampled_from(["exp_kl", "chi2", "ess"]))
def test_the_jackknife_equals_leaving_out_each(rows: list[list[float]], estimator: str):
    settings = VarianceConfig(estimator, 2.0)
    without = [estimates(divergences(rows[:i] + rows[i + 1 :]), 2.0)[estimator] for i in range(len(rows))]
    assert variance_error(rows, settings) == pytest.approx(math.sqrt((len(rows) - 1) * np.var(without)), rel=1e-6, abs=1e-9)
