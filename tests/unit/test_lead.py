"""The comparison of an averaged with the live policy: its probability, its window, and how often luck fools it."""

import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.guidance.lead import Lead, Paired, probability


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_probability_is_that_of_a_binomial_tail(won: int, lost: int) -> None:
    """P(Beta(a, b) > 1/2) = P(Binomial(a + b - 1, 1/2) < a), exact in whole numbers."""
    tosses = won + lost + 1
    assert probability(won, lost) == pytest.approx(sum(comb(tosses, k) for k in range(won + 1)) / 2**tosses, abs=1e-12)
    assert probability(won, lost) + probability(lost, won) == pytest.approx(1.0)


def test_examples_by_hand() -> None:
    assert probability(0, 0) == 0.5
    assert probability(1, 0) == 0.75  # 1 - (1/2)^2
    assert probability(3, 0) == 0.9375


def test_what_both_solved_or_neither_tells_nothing() -> None:
    lead = Lead(window=5, certainty=0.5)
    lead.see(Paired(prompts=10, both=9))
    assert not lead.leads
    lead.see(Paired(prompts=1, won=1))
    assert lead.leads


def test_only_the_window_counts() -> None:
    lead = Lead(window=3, certainty=0.9)
    for pairs in (Paired(9, 0, 5, 0), Paired(4, 1, 0, 1), Paired(), Paired(2, 2)):
        lead.see(pairs)
    assert lead.total == Paired(6, 3, 0, 1)
    assert not lead.leads


@pytest.mark.parametrize(("own", "other", "least", "most"), [(0.1, 0.1, 0.0, 0.2), (0.3, 0.1, 0.0, 0.01), (0.1, 0.3, 0.9, 1.0)])
def test_how_often_it_leads(own: float, other: float, least: float, most: float) -> None:
    """Equal policies: by luck in about 1 - certainty of the steps; a better or worse one is told from the live one in most of them."""
    draw, led, steps = random.Random(0), 0, 0
    for _ in range(200):
        lead = Lead(window=30, certainty=0.9)
        for step in range(60):
            both = [(draw.random() < other, draw.random() < own) for _ in range(4)]
            lead.see(Paired(4, both.count((True, True)), both.count((True, False)), both.count((False, True))))
            led, steps = led + (lead.leads and step >= 30), steps + (step >= 30)
    assert least <= led / steps <= most
