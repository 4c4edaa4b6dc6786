"""Synthetic curves with known answers: each claim of the paper once true and once false."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from npo_pipeline.analysis.measurement.figure import draw_measured
from npo_pipeline.analysis.measurement.findings import MEASURES, findings, normal_quantile, ranks, spearman
from npo_pipeline.analysis.measurement.sentences import sentences

DISTANCES = (0, 5, 10, 20, 30, 40)
Law = Callable[[float], float]


def table(q: Law, v: Law, estimate: Law = lambda d: 1.0 + d, error: float = 0.01) -> list[dict[str, float]]:
    """Two current steps that follow the same laws of the distance."""
    rows = []
    for step in (0, 60):
        for d in DISTANCES:
            row = {"current_step": step, "distance": d, "q": q(d), "q_low": q(d) - error, "q_high": q(d) + error, "kl_token": d / 100}
            for name in MEASURES:
                value = v(d) * (1.1 if step else 1.0)
                row |= {f"v_{name}": value, f"v_{name}_low": value / (1 + error), f"v_{name}_high": value * (1 + error)}
                row |= {f"s_{name}": q(d) / value}
            row |= {"v_exp_kl": math.exp(d / 100), "v_chi2": estimate(d), "v_ess": -estimate(d)}
            rows.append(row | {"s_exp_kl": 1.0, "s_chi2": 1.0, "s_ess": 1.0})
    return rows


def saturating(d: float) -> float:
    return 0.4 * (1 - math.exp(-d / 10))


def test_what_the_paper_expects_is_recognised() -> None:
    found = findings(table(saturating, lambda d: math.exp(0.05 * d)), 200, 0.95)
    assert found["q"]["all"]["answer"] == "yes"
    growth, peak = found["measured"]["growth"]["0"], found["measured"]["peak"]["0"]
    assert (growth["answer"], growth["slope"]) == ("exponentially", pytest.approx(0.05))
    assert peak["answer"] == "yes"
    assert 0 < peak["distance"] < 40
    beta = found["measured"]["beta"]
    assert beta["beta"] == pytest.approx(5.0)
    assert beta["low"] < 5.0 < beta["high"] < 6.0


def test_the_opposite_of_each_claim_is_recognised() -> None:
    found = findings(table(lambda d: (d / 40) ** 2, lambda d: 1.0 + 0.2 * d), 200, 0.95)
    assert found["q"]["0"]["answer"] == "no"
    assert found["measured"]["growth"]["all"]["answer"] == "no faster than linearly"
    assert found["measured"]["peak"]["all"] | {"interior_in_draws": 0.0} == {
        "answer": "no",
        "distance": 40,
        "interior": False,
        "interior_in_draws": 0.0,
    }


@pytest.mark.parametrize(
    ("law", "answer"),
    [
        (lambda d: 1.5, "no growth shown"),
        (lambda d: math.exp(-0.1 * d), "falls"),
        (lambda d: 1.0 if d == 0 else 4.0 + (d > 30), "grows, but neither exponentially nor linearly"),
    ],
)
def test_other_shapes_of_growth(law: Law, answer: str) -> None:
    found = findings(table(saturating, law), 200, 0.5)
    assert found["measured"]["growth"]["0"]["answer"] == answer


def test_a_wide_interval_leaves_questions_open() -> None:
    found = findings(table(saturating, lambda d: math.exp(0.05 * d), error=0.3), 200, 0.95)
    assert found["q"]["0"]["answer"] == "open"
    assert found["measured"]["peak"]["0"]["answer"] == "open"


def test_rank_correlation_of_good_and_bad_estimates() -> None:
    found = findings(table(saturating, lambda d: math.exp(0.05 * d)), 200, 0.95)["measured"]["rank_correlation"]
    assert found["chi2"]["within"] == pytest.approx(1.0)
    assert found["ess"]["within"] == pytest.approx(-1.0)
    assert found["chi2"]["low"] <= found["chi2"]["value"] <= found["chi2"]["high"]
    assert found["chi2"]["value"] > 0.9


def test_ranks_and_their_correlation() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 5.0])) == pytest.approx(0.5)
    assert math.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)


def test_unknown_values_are_left_out_everywhere() -> None:
    rows = table(saturating, lambda d: math.nan)
    found = findings(rows, 200, 0.95)
    assert found["measured"]["peak"]["all"] == {"answer": "too few points"}
    assert len(sentences(found)) == 1 + 4 * len(MEASURES)
    assert draw_measured(rows).startswith(b"<?xml")
