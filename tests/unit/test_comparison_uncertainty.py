"""The statistics of a comparison against brute force, simulated truths, cases worked by hand, and what pairing must do."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.analysis.comparison import uncertainty
from npo_pipeline.analysis.comparison.uncertainty import by_start, crossed_interval, ratio_interval, sign_flip_p, spread
from npo_pipeline.analysis.statistics import t_interval
from npo_pipeline.errors import DataError

SMALL = st.floats(-10, 10).map(lambda x: round(x, 3))
T_90_OF_441_353 = 4.551263  # the quantile .95 of t with 441/353 degrees of freedom, by numerical integration of its density


def width(found):
    return found.high - found.low


def scores(rng, seeds=8, problems=40, seed_sd=0.05, problem_sd=0.3, rest_sd=0.1):
    return 0.4 + rng.normal(0, seed_sd, (seeds, 1)) + rng.normal(0, problem_sd, (1, problems)) + rng.normal(0, rest_sd, (seeds, problems))


def test_a_crossed_interval_by_hand():
    """Two seeds, two problems: mean squares 16 (seeds), 9 (problems), 4 (rest), so a variance of (16 + 9 - 4) / 4 and df 441/353."""
    values_SP = np.array([[0.0, 1.0], [2.0, 7.0]])
    assert (values_SP.mean(axis=1).tolist(), values_SP.mean(axis=0).tolist()) == ([0.5, 4.5], [1.0, 4.0])
    found = crossed_interval(values_SP, 0.9)
    assert found.value == 2.5
    assert found.high - 2.5 == pytest.approx(T_90_OF_441_353 * np.sqrt(21) / 2, rel=1e-6)


@given(st.integers(1, 5), st.integers(1, 6), st.floats(-1, 1))
def test_a_constant_difference_has_no_width(seeds, problems, shift):
    values_SP = np.random.default_rng(seeds).random((seeds, problems))
    found = crossed_interval((values_SP + shift) - values_SP, 0.95)
    assert found.value == pytest.approx(shift, abs=1e-12)
    assert width(found) == pytest.approx(0.0, abs=1e-9)


def test_a_problem_counts_for_all_seeds_at_once():
    """Scores that differ by problem alone: more seeds tell nothing new, so the interval must not shrink with them."""
    one_1P = np.random.default_rng(2).random((1, 50))
    assert width(crossed_interval(np.repeat(one_1P, 8, axis=0), 0.95)) == pytest.approx(width(crossed_interval(one_1P, 0.95)), rel=0.05)


def test_one_problem_leaves_seeds_and_one_seed_leaves_problems():
    values = [0.25, 0.5, 0.5, 0.75]
    assert crossed_interval(np.array([values]), 0.95) == crossed_interval(np.array([values]).T, 0.95) == t_interval(values, 0.95)
    assert width(crossed_interval(np.array([[0.3]]), 0.95)) == 0.0


@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize(("seed_sd", "problem_sd", "rest_sd"), [(0.03, 0.3, 0.5), (0.1, 0.05, 0.3), (0.01, 0.5, 0.5)])
def test_crossed_intervals_cover_the_truth_as_often_as_they_say(seeds, seed_sd, problem_sd, rest_sd):
    """Also with three seeds, and where seeds or problems alone matter. 600 draws: a share of .95 is known to .009."""
    rng = np.random.default_rng(seeds)
    found = [crossed_interval(scores(rng, seeds, 60, seed_sd, problem_sd, rest_sd), 0.95) for _ in range(600)]
    assert 0.925 <= np.mean([interval.low <= 0.4 <= interval.high for interval in found]) <= 0.99


@pytest.mark.parametrize("seeds", [4, 8])
def test_ratio_intervals_cover_the_truth_as_often_as_they_say(seeds):
    """Steps of GRPO and of a method twice as fast, that share what their seed does to both. Percentiles of resamples cover .80, .87."""
    rng, hits = np.random.default_rng(seeds), 0
    for _ in range(1500):
        seed = rng.lognormal(0, 0.2, seeds)
        found = ratio_interval(100 * seed * rng.lognormal(0, 0.2, seeds), 50 * seed * rng.lognormal(0, 0.2, seeds), 0.95)
        hits += found.low <= 2.0 <= found.high
    assert 0.925 <= hits / 1500 <= 0.975


@pytest.mark.parametrize("values", [np.zeros((2, 0)), np.zeros((0, 2)), np.zeros(3)])
def test_scores_without_values_are_refused(values):
    with pytest.raises(DataError, match="expected at least one seed"):
        crossed_interval(values, 0.95)


@pytest.mark.parametrize(("seeds", "p"), [(8, 2 / 256), (3, 2 / 8), (2, 1 / 2)])
def test_differences_of_one_sign_and_size_give_the_smallest_p(seeds, p):
    assert sign_flip_p([0.03] * seeds) == p
    assert sign_flip_p([-0.03] * seeds) == p


@given(st.lists(SMALL, min_size=2, max_size=7))
def test_p_is_the_share_of_sign_patterns_that_go_as_far(values):
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    assert sign_flip_p(values) == pytest.approx(np.mean([found >= abs(sum(values)) - 1e-9 for found in sums]))


def test_p_by_hand_and_of_no_difference():
    assert sign_flip_p([1.0, 2.0, -0.5]) == 4 / 8  # |sums|: 2.5, 3.5, 1.5, 0.5, and their mirror images; the observed is 2.5
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1.0


def test_many_seeds_are_sampled_and_agree_with_the_exact_value(monkeypatch):
    values = list(np.random.default_rng(5).normal(0.3, 1.0, 12))
    exact = sign_flip_p(values)
    monkeypatch.setattr(uncertainty, "EXACT_SEEDS", 5)
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.01)


def test_one_seed_has_neither_interval_nor_p():
    assert sign_flip_p([0.1]) is None
    assert t_interval([0.1], 0.95) is None
    assert ratio_interval([120.0], [60.0], 0.95) is None


def test_students_interval_by_hand():
    """Four values with a standard error of .0645; the quantile of t with 3 degrees of freedom is 3.182 (Student 1908's table)."""
    found = t_interval([0.1, 0.2, 0.3, 0.4], 0.95)
    assert found.value == pytest.approx(0.25)
    assert found.high - 0.25 == pytest.approx(3.1824463 * np.std([0.1, 0.2, 0.3, 0.4], ddof=1) / 2, rel=1e-6)


def test_a_ratio_is_of_the_means_and_a_constant_one_has_no_width():
    found = ratio_interval([100, 120, 80], [50, 60, 40], 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    uneven = ratio_interval([100, 100], [40, 60], 0.95)
    assert uneven.value == pytest.approx(2.0)
    assert uneven.low < 1.0 < 4.0 < uneven.high  # two seeds say little


def test_the_parts_of_the_variance_by_hand():
    found = spread([0.1, 0.3, 0.5, 0.7], [4, 4, 1, 1])
    assert (found.starts, found.seeds) == pytest.approx((np.sqrt(0.07), np.sqrt(0.02)))
    assert spread([0.1, 0.3, 0.2, 0.2], [0, 0, 1, 1]).starts == 0.0  # the starts differ by less than seeds alone let them
    assert spread([0.1, 0.3], [0, 0]) is spread([0.1, 0.3], [0, 1]) is None


def test_the_parts_of_the_variance_are_found_where_starts_have_different_numbers_of_seeds():
    """True variances .0025 and .0009; 4,000 draws of 2, 3 and 1 seeds on three starts."""
    rng, starts = np.random.default_rng(3), [0, 0, 1, 1, 1, 2]
    draws = [rng.normal(0, 0.05, 3)[starts] + rng.normal(0, 0.03, 6) for _ in range(4000)]
    found = [spread(values, starts) for values in draws]
    assert np.mean([part.seeds**2 for part in found]) == pytest.approx(0.0009, rel=0.05)
    assert np.mean([part.starts**2 for part in found]) == pytest.approx(0.0025, rel=0.2)  # those cut at 0 lift it a little


def test_the_mean_of_each_start_keeps_the_order_in_which_starts_come():
    values_SP = np.array([[1.0, 2.0], [5.0, 6.0], [3.0, 4.0]])
    assert by_start(values_SP, [2, 0, 2]).tolist() == [[2.0, 3.0], [5.0, 6.0]]


def nested_scores(rng, starts, seeds, start_sd, problems=60):
    """Every part of a nested design, interactions with problems too: starts * seeds rows."""
    brought = rng.normal(0, start_sd, (starts, 1, 1)) + rng.normal(0, 0.1, (starts, 1, problems))
    own = rng.normal(0, 0.03, (starts, seeds, 1)) + rng.normal(0, 0.2, (starts, seeds, problems))
    return 0.4 + (rng.normal(0, 0.3, (1, 1, problems)) + brought + own).reshape(starts * seeds, problems)


@pytest.mark.parametrize(("starts", "seeds"), [(4, 2), (3, 3), (8, 1)])
@pytest.mark.parametrize("start_sd", [0.0, 0.05])
def test_intervals_over_starts_cover_the_truth_as_often_as_they_say(starts, seeds, start_sd):
    rng, of = np.random.default_rng(starts), np.repeat(np.arange(starts), seeds).tolist()
    found = [crossed_interval(by_start(nested_scores(rng, starts, seeds, start_sd), of), 0.95) for _ in range(600)]
    assert 0.925 <= np.mean([interval.low <= 0.4 <= interval.high for interval in found]) <= 0.995


def test_intervals_over_seeds_that_share_starts_do_not():
    rng = np.random.default_rng(4)
    found = [crossed_interval(nested_scores(rng, 2, 4, 0.08), 0.95) for _ in range(400)]
    assert np.mean([interval.low <= 0.4 <= interval.high for interval in found]) < 0.85
