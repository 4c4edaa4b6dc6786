"""Q, V, S against float64 brute force and closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.configuration.settings import VarianceConfig
from npo_pipeline.guidance.signal import divergences, signal

EXP_KL = VarianceConfig("exp_kl", 1.0)
ratios = st.lists(st.lists(st.floats(-3.0, 1.0), min_size=1, max_size=5), min_size=1, max_size=5)


def test_by_hand():
    # Two tokens with pi_t / pi_g = 1/2 and 1: k3 = (0.5 - 1 + ln 2 + 0) / 2; mean of squares (0.25 + 1) / 2 - 1 < 0 is floored.
    found = signal(["a", "b", "c"], ["a"], [[math.log(0.5), 0.0]], EXP_KL)
    kl = (0.5 - 1.0 + math.log(2.0)) / 2
    assert found["n_failed"] == 3
    assert found["n_covered"] == 1
    assert found["q"] == pytest.approx(1 / 3)
    assert found["kl_token"] == pytest.approx(kl)
    assert found["chi2_token"] == 0.0
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
    assert found["chi2_token"] == pytest.approx(max(sum(math.exp(2 * d) for d in flat) / len(flat) - 1, 0.0), abs=1e-9)
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
