"""pass@k against counting subsets, the bootstrap against theory, and the evaluation file's contents."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.analysis import statistics
from npo_pipeline.analysis.statistics import Interval, bootstrap_difference, bootstrap_mean, pass_at_k, problem_scores, summarise
from npo_pipeline.errors import ConfigError, DataError

COUNTS = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n):
    for c in range(n + 1):
        marks = [i < c for i in range(n)]
        for k in range(1, n + 1):
            subsets = [any(subset) for subset in itertools.combinations(marks, k)]
            assert pass_at_k(n, c, k) == pytest.approx(sum(subsets) / len(subsets), abs=1e-15)


@given(COUNTS)
def test_pass_at_k_is_a_probability_that_grows_with_k_and_c(counts):
    n, c = counts
    scores = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(scores))
    assert scores[0] == pytest.approx(c / n)
    assert scores[-1] == float(c > 0)
    if c < n:
        assert all(pass_at_k(n, c + 1, k) >= score - 1e-12 for k, score in enumerate(scores, 1))


@given(st.integers(41, 3000), st.data())
def test_pass_at_k_agrees_with_exact_binomials_for_many_samples(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at_k(n, c, k) == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k), abs=1e-9)


@pytest.mark.parametrize(
    ("n", "c", "k", "error"), [(4, 1, 5, ConfigError), (4, 1, 0, ConfigError), (4, 5, 1, DataError), (4, -1, 1, DataError)]
)
def test_pass_at_k_refuses_what_cannot_be(n, c, k, error):
    with pytest.raises(error, match="expected"):
        pass_at_k(n, c, k)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_bootstrap_ignores_order_and_stays_within_the_values(values, rng):
    shuffled = rng.sample(values, len(values))
    found = bootstrap_mean(values, 50, 0.9, seed=3)
    assert found == bootstrap_mean(shuffled, 50, 0.9, seed=3)
    assert min(values) - 1e-12 <= found.low <= found.high <= max(values) + 1e-12
    assert found.value == pytest.approx(np.mean(values))


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says():
    """400 experiments of 40 problems: 95% nominal; the percentile bootstrap is known to fall short of it a little."""
    rng = np.random.default_rng(0)
    intervals = [bootstrap_mean(rng.binomial(8, 0.4, 40) / 8, 400, 0.95, seed) for seed in range(400)]
    assert 0.91 <= np.mean([found.low <= 0.4 <= found.high for found in intervals]) <= 0.98


def test_bootstrap_width_is_that_of_the_normal_interval_for_many_values():
    values = np.random.default_rng(1).normal(0.5, 0.1, 2000)
    found = bootstrap_mean(values, 4000, 0.95, seed=0)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2000), rel=0.05)


def test_chunks_of_resamples_estimate_the_same_interval(monkeypatch):
    values = list(np.random.default_rng(2).random(50))
    whole = bootstrap_mean(values, 4000, 0.95, seed=0)
    monkeypatch.setattr(statistics, "CELLS", 50 * 7)  # 571 whole chunks and a rest
    parts = bootstrap_mean(values, 4000, 0.95, seed=0)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.01)


def test_equal_values_have_no_width_and_no_values_are_refused():
    assert bootstrap_mean([1.0] * 9, 100, 0.95, 0) == Interval(1.0, 1.0, 1.0)
    with pytest.raises(DataError, match=r"task\.eval_size"):
        bootstrap_mean([], 100, 0.95, 0)


def test_a_paired_difference_sees_what_the_spread_of_problems_hides():
    rng = np.random.default_rng(5)
    b = {f"p{i}": value for i, value in enumerate(rng.random(60))}
    a = {key: value + 0.05 + rng.normal(0, 0.02) for key, value in b.items()}
    found = bootstrap_difference(a, b, 1000, 0.95, 0)
    alone = bootstrap_mean(list(b.values()), 1000, 0.95, 0)
    assert found.excludes_zero
    assert found.high - found.low < 0.2 * (alone.high - alone.low)
    mirrored = bootstrap_difference(b, a, 1000, 0.95, 0)
    assert mirrored.value == pytest.approx(-found.value)


def test_a_difference_uses_shared_problems_only():
    assert bootstrap_difference({"x": 1.0, "only a": 0.0}, {"x": 0.25, "only b": 0.0}, 10, 0.95, 0).value == 0.75
    with pytest.raises(DataError, match="share no problem"):
        bootstrap_difference({"a": 1.0}, {"b": 1.0}, 10, 0.95, 0)


@pytest.mark.parametrize(("low", "high", "excludes"), [(0.01, 0.1, True), (-0.1, -0.01, True), (-0.1, 0.1, False), (0.0, 0.1, False)])
def test_excludes_zero(low, high, excludes):
    assert Interval(0.0, low, high).excludes_zero is excludes


def test_summary_holds_the_evaluation_file():
    counts, difficulty = {"a": 4, "b": 1, "c": 0}, {"a": "10", "b": "9", "c": "hard"}
    found = summarise(counts, 4, [1, 2], difficulty, 200, 0.95, 7)
    assert json.loads(json.dumps(found)) == found
    assert list(found["difficulty"]) == ["9", "10", "hard"]
    assert found["overall"]["mean@4"]["value"] == pytest.approx(5 / 12)
    assert found["overall"]["pass@2"]["value"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["difficulty"]["9"] == {"n_problems": 1} | {
        name: {"value": score, "low": score, "high": score} for name, score in problem_scores(1, 4, [1, 2]).items()
    }
    assert (found["samples"], found["n_problems"], found["correct"]) == (4, 3, counts)
    assert found["bootstrap"] == {"resamples": 200, "confidence": 0.95, "seed": 7}


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 3), min_size=1, max_size=8))
def test_summary_does_not_depend_on_the_order_of_problems(counts):
    difficulty = dict.fromkeys(counts, "all")
    backwards = dict(reversed(counts.items()))
    assert summarise(counts, 3, [1, 3], difficulty, 20, 0.9, 0) == summarise(backwards, 3, [1, 3], difficulty, 20, 0.9, 0)


def test_summary_refuses_what_is_missing():
    with pytest.raises(DataError, match="b: no difficulty"):
        summarise({"a": 1, "b": 1}, 4, [1], {"a": "1"}, 10, 0.95, 0)
    with pytest.raises(DataError, match="no problems"):
        summarise({}, 4, [1], {}, 10, 0.95, 0)
