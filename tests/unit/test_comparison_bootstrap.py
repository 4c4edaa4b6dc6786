"""The statistics of a comparison against brute force, cases worked by hand, and what pairing must do."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.analysis.comparison import bootstrap
from npo_pipeline.analysis.comparison.bootstrap import draw, ratio_interval, seed_interval, sign_flip_p
from npo_pipeline.errors import DataError

SMALL = st.floats(-10, 10).map(lambda x: round(x, 3))


def width(found):
    return found.high - found.low


def scores(rng, seeds=8, problems=40, seed_sd=0.05, problem_sd=0.3):
    return 0.4 + rng.normal(0, seed_sd, (seeds, 1)) + rng.normal(0, problem_sd, (1, problems))


def test_every_resample_is_a_mean_over_drawn_seeds_and_drawn_problems():
    """Two seeds and two problems: the 16 equally likely resamples, worked out one by one."""
    values_SP = np.array([[0.0, 1.0], [2.0, 7.0]])
    expected = sorted(
        np.mean([[values_SP[s, p] for p in problems] for s in seeds])
        for seeds in itertools.product(range(2), repeat=2)
        for problems in itertools.product(range(2), repeat=2)
    )
    draws_R = draw({"a": values_SP}, 40_000, 0.9, 0).draws_R["a"]
    found, counts = np.unique(np.round(draws_R, 9), return_counts=True)
    values, weights = np.unique(np.round(expected, 9), return_counts=True)
    assert found == pytest.approx(values)
    assert counts / 40_000 == pytest.approx(weights / 16, abs=0.01)


@given(st.integers(1, 5), st.integers(1, 6), st.floats(-1, 1), st.integers(0, 9))
def test_a_constant_difference_has_no_width(seeds, problems, shift, seed):
    values_SP = np.random.default_rng(seed).random((seeds, problems))
    found = draw({"a": values_SP + shift, "b": values_SP}, 50, 0.95, seed).difference("a", "b")
    assert found.value == pytest.approx(shift, abs=1e-12)
    assert width(found) == pytest.approx(0.0, abs=1e-12)


def test_what_a_seed_does_to_both_methods_cancels():
    rng = np.random.default_rng(1)
    base_SP = scores(rng, seed_sd=0.3)
    noise = {name: rng.normal(0, 0.02, base_SP.shape) for name in "ab"}
    draws = draw({"a": base_SP + 0.05 + noise["a"], "b": base_SP + noise["b"]}, 2000, 0.95, 0)
    assert draws.difference("a", "b").excludes_zero
    assert width(draws.difference("a", "b")) < 0.1 * width(draws.mean("a"))


def test_a_problem_is_drawn_for_all_seeds_at_once():
    """Scores that differ by problem alone: more seeds tell nothing new, so the interval must not shrink with them."""
    one_P = np.random.default_rng(2).random((1, 50))
    alone = draw({"a": one_P}, 4000, 0.95, 0).mean("a")
    copied = draw({"a": np.repeat(one_P, 8, axis=0)}, 4000, 0.95, 0).mean("a")
    assert width(copied) == pytest.approx(width(alone), rel=0.1)


def test_one_seed_resamples_problems_only():
    found = draw({"a": np.array([[0.25] * 30])}, 100, 0.95, 0).mean("a")
    assert width(found) == pytest.approx(0.0, abs=1e-12)


def test_intervals_cover_the_truth_at_least_about_as_often_as_they_say():
    """300 experiments of 8 seeds and 40 problems, both drawn anew."""
    rng, hits = np.random.default_rng(3), 0
    for i in range(300):
        found = draw({"a": scores(rng)}, 300, 0.95, i).mean("a")
        hits += found.low <= 0.4 <= found.high
    assert 0.90 <= hits / 300 <= 0.99


def test_chunks_of_resamples_estimate_the_same_interval(monkeypatch):
    values = {"a": scores(np.random.default_rng(4))}
    whole = draw(values, 3000, 0.95, 0).mean("a")
    monkeypatch.setattr(bootstrap, "CELLS", 40 * 7)
    parts = draw(values, 3000, 0.95, 0)
    assert len(parts.draws_R["a"]) == 3000
    assert (parts.mean("a").low, parts.mean("a").high) == pytest.approx((whole.low, whole.high), abs=0.02)


@pytest.mark.parametrize("values", [{"a": np.zeros((2, 0))}, {"a": np.zeros((0, 2))}, {"a": np.zeros((2, 2)), "b": np.zeros((2, 3))}])
def test_scores_without_values_or_of_different_shapes_are_refused(values):
    with pytest.raises(DataError, match="expected one shape"):
        draw(values, 10, 0.95, 0)


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
    monkeypatch.setattr(bootstrap, "EXACT_SEEDS", 5)
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.01)


def test_one_seed_has_neither_interval_nor_p():
    assert sign_flip_p([0.1]) is None
    assert seed_interval([0.1], 100, 0.95, 0) is None
    assert ratio_interval([120.0], [60.0], 100, 0.95, 0) is None


def test_intervals_over_seeds():
    found = seed_interval([0.1, 0.2, 0.3, 0.4], 4000, 0.95, 0)
    assert found is not None
    assert found.value == pytest.approx(0.25)
    assert 0.1 <= found.low < 0.2 < 0.3 < found.high <= 0.4


def test_a_ratio_is_of_the_means_and_a_constant_one_has_no_width():
    found = ratio_interval([100, 120, 80], [50, 60, 40], 200, 0.95, 0)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    uneven = ratio_interval([100, 100], [25, 75], 4000, 0.95, 0)
    assert uneven.value == pytest.approx(2.0)
    assert (uneven.low, uneven.high) == pytest.approx((100 / 75, 100 / 25))
