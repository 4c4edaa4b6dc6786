"""Columns, rows, needs, costs and budgets of a comparison."""

import os

import numpy as np
import pytest
from comparison_results import KINDS, METHODS
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.analysis.comparison.budget import BudgetCurve, ahead_from
from npo_pipeline.analysis.comparison.compute_figure import GAP, side_by_side
from npo_pipeline.analysis.comparison.groups import difficulty_groups
from npo_pipeline.analysis.comparison.load import load_method
from npo_pipeline.analysis.costs import Spend, guide_seconds, run_spend, step_tokens
from npo_pipeline.analysis.methods import needs, ordered
from npo_pipeline.analysis.results import Run
from npo_pipeline.errors import ArtifactError


def grouped(sizes, most=8):
    """Column names and numbers of problems for difficulties 1, 2, ... of these sizes."""
    difficulty = {f"p{label}-{i}": str(label) for label, size in enumerate(sizes, 1) for i in range(size)}
    return {name: len(ids) for name, ids in difficulty_groups(list(difficulty), difficulty, most).items()}


def test_few_difficulties_stay_as_they_are():
    assert grouped([5, 1, 9]) == {"1": 5, "2": 1, "3": 9}
    assert list(grouped([1] * 8)) == [str(i) for i in range(1, 9)]


def test_neighbours_are_merged_into_ranges_of_about_equal_size():
    assert grouped([10] * 12, most=4) == {"1-3": 30, "4-6": 30, "7-9": 30, "10-12": 30}
    assert grouped([30, 10, 10, 10, 30], most=3) == {"1": 30, "2-4": 30, "5": 30}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 9))
def test_columns_are_contiguous_complete_and_few(sizes, most):
    difficulty = {f"p{label:02d}-{i}": str(label) for label, size in enumerate(sizes) for i in range(size)}
    groups = difficulty_groups(list(difficulty), difficulty, most)
    members = [sorted({int(difficulty[i]) for i in ids}) for ids in groups.values()]
    assert len(groups) <= max(most, 1)
    assert [label for labels in members for label in labels] == list(range(len(sizes)))
    assert sum(map(len, groups.values())) == len(difficulty)
    if len(sizes) > most:
        assert max(map(len, groups.values())) <= len(difficulty) / most + 2 * max(sizes)


def test_rows_come_in_the_order_of_the_paper_and_unknown_ones_last():
    assert ordered(["initial", "probe", "mine", *METHODS, "other"]) == [
        *("initial", "luffy", "probe", "exgrpo", "rlep", "resample", "npo_early", "npo_late", "npo", "npo_rolling"),
        *("autonpo", "autonpo_online", "grpo_long", "mine", "other"),
    ]


EXPECTED_NEEDS = {
    "luffy": {"demonstrations"},
    "rlep": {"probe", "demonstrations"},
    **{name: set() for name in ("initial", "probe", "exgrpo", "resample", "grpo_long")},
    **{name: {"probe", "guides"} for name in ("npo_early", "npo_late", "npo", "npo_rolling", "autonpo", "autonpo_online", "mine")},
}


@pytest.mark.parametrize("name", EXPECTED_NEEDS)
def test_needs_by_name_and_by_configuration_agree(name):
    assert needs(name, {}) == EXPECTED_NEEDS[name]
    policy = {"demonstrations": {"policy": "probe" if name == "rlep" else "teacher"}}
    assert needs(name, {"kind": KINDS.get(name, "manual"), **policy}) == EXPECTED_NEEDS[name]


def test_a_configuration_says_more_than_a_name():
    assert needs("grpo_with_guides", {"kind": "manual"}) == {"probe", "guides"}
    assert needs("mine", {"kind": "none"}) == set()
    assert needs("luffy", {"kind": "demonstrations", "demonstrations": {"policy": "probe"}}) == {"probe", "demonstrations"}


@pytest.mark.parametrize(("content", "expected"), [("{method: {kind: none}}", {"kind": "none"}), ("{method: null}", {}), ("{a: 1}", {})])
def test_the_method_is_read_from_its_configuration(tmp_path, content, expected):
    path = tmp_path / "guided-x.yaml"
    assert load_method(path) == {}
    path.write_text(content)
    assert load_method(path) == expected


@pytest.mark.parametrize("content", ["{", "text", "- 1"])
def test_a_damaged_configuration_is_named(tmp_path, content):
    path = tmp_path / "guided-x.yaml"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=r"guided-x\.yaml"):
        load_method(path)


def test_live_samples_count_beside_roll_outs_and_unknown_stays_unknown():
    assert step_tokens({"completions/tokens": 40, "guide/tokens": 7}) == 47
    assert step_tokens({"completions/tokens": 40}) == step_tokens({"completions/tokens": 40, "guide/tokens": None}) == 40
    run = Run(({"completions/tokens": 40}, {"completions/tokens": 2, "guide/tokens": 1}), ({"seconds": 1.5}, {"seconds": 2.0}))
    assert run_spend(run) == Spend(43, 3.5)
    assert run_spend(Run(({"completions/tokens": 40}, {}))) == Spend(None, None)
    assert Spend(1, 2) + Spend(3, None) == Spend(4, None)


def test_seconds_of_the_guide_jobs_are_those_of_the_last_complete_set(tmp_path):
    assert guide_seconds(tmp_path) is None
    for age, name, seconds in ((2, "guide-0-of-1", 9.0), (1, "guide-0-of-2", 3.0), (0, "guide-1-of-2", 4.5)):
        (tmp_path / f"{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t-\n")
        os.utime(tmp_path / f"{name}.tsv", (1000 - age, 1000 - age))
    (tmp_path / "guide.tsv").write_text("s\n100\n")
    assert guide_seconds(tmp_path) == 7.5
    (tmp_path / "guide-0-of-2.tsv").unlink()
    assert guide_seconds(tmp_path) is None
    (tmp_path / "guide-0-of-2.tsv").write_text("no benchmark\n")
    with pytest.raises(ArtifactError, match=r"guide-0-of-2\.tsv"):
        guide_seconds(tmp_path)


def curve(tokens, *rewards):
    return BudgetCurve(np.array(tokens, dtype=float), np.array(rewards, dtype=float))


def test_the_budget_from_which_a_method_stays_ahead():
    rival = curve([0, 100], [0.0, 1.0])
    late = curve([50, 100], [0.0, 2.0])
    found = ahead_from(late, rival)
    assert found == 100  # on the common grid 0, 50, 100
    finer = ahead_from(curve([50, 60, 70, 80, 100], [0.0, 0.4, 0.8, 1.2, 2.0]), rival)
    assert finer == 70
    assert ahead_from(curve([0, 100], [0.1, 1.1]), rival) == 0
    assert ahead_from(curve([0, 100], [0.1, 0.9]), rival) is None
    assert ahead_from(curve([200, 300], [5.0, 5.0]), rival) is None


def test_a_budget_that_not_all_seeds_know_is_not_compared():
    rival = curve([0, 50, 100], [0.0, 0.5, 1.0], [0.0, 0.5, 1.0])
    assert ahead_from(curve([0, 50, 100], [1.0, 1.0, 0.0], [1.0, 1.0, np.nan]), rival) == 0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12))
def test_points_of_equal_cost_stand_side_by_side(tokens):
    places = side_by_side(tokens)
    assert sum(places) == pytest.approx(sum(tokens), rel=1e-6, abs=1e-6)
    assert max(abs(a - b) for a, b in zip(places, tokens, strict=True)) <= len(tokens) * GAP * max(tokens) + 1e-9


def test_points_that_are_apart_stay_where_they_are():
    assert side_by_side([0.0, 500.0, 1000.0]) == [0.0, 500.0, 1000.0]
    assert side_by_side([1000.0, 0.0, 1000.0]) == [1000 - 12.5, 0.0, 1000 + 12.5]
