"""Smoothing, bringing seeds together, and reaching a level."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.analysis.results import Run
from npo_pipeline.analysis.series import ema, first_reaching, last, over_seeds, series

FLOATS = st.lists(st.floats(-5, 5), min_size=1, max_size=30)


def run_of(values, start=0):
    return Run(tuple({"step": start + i, "x": value} for i, value in enumerate(values)))


@given(FLOATS)
def test_ema_is_the_weighted_mean_of_what_was_seen(values):
    smooth = ema(np.array(values), 0.3)
    for i in range(len(values)):
        weights = 0.7 ** np.arange(i, -1, -1)
        assert smooth[i] == pytest.approx(np.average(values[: i + 1], weights=weights), abs=1e-9)


def test_ema_skips_what_is_unknown():
    smooth = ema(np.array([np.nan, 1.0, np.nan, 1.0]))
    assert math.isnan(smooth[0])
    assert smooth[1:] == pytest.approx([1.0, 1.0, 1.0])


def test_seeds_of_different_length_are_aligned_by_step():
    found = series([run_of([1.0, 3.0]), run_of([5.0, None], start=1)], "x")
    assert found.steps.tolist() == [0, 1, 2]
    mean, low, high = over_seeds(found.raw_ST)
    assert mean.tolist()[:2] == [1.0, 4.0]
    assert (low[1], high[1]) == (3.0, 5.0)
    assert np.isnan([mean[2], low[2], high[2]]).all()


def test_an_absent_metric_is_unknown_not_zero():
    assert np.isnan(series([run_of([1.0])], "y").raw_ST).all()
    assert math.isnan(last(ema(np.array([np.nan]))))


def test_first_reaching_is_the_first_step_of_the_smoothed_metric():
    run = run_of([0.0] * 5 + [1.0] * 20, start=10)
    smooth = ema(np.array([0.0] * 5 + [1.0] * 20))
    reached = first_reaching(run, "x", 0.5)
    assert smooth[reached - 10] >= 0.5 > smooth[reached - 11]
    assert first_reaching(run, "x", 1.5) is None
    assert first_reaching(run, "x", math.nan) is None
