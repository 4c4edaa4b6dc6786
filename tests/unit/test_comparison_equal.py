"""Methods against GRPO at equal tokens and seconds, from written results with curves that are known."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from comparison_results import GUIDE_TOKENS, comparison_of, write_comparison
from report_results import SHA, Shape

from npo_pipeline.analysis.comparison.build import build_comparison
from npo_pipeline.analysis.comparison.equal import Way, baseline, compare_equal, way
from npo_pipeline.analysis.comparison.load import load_comparison
from npo_pipeline.errors import ArtifactError
from npo_pipeline.evaluation.curve import curve_steps
from npo_pipeline.storage.curves import Point, read_curve, write_curve

SHAPE = Shape(seeds=(0, 1), methods=("npo", "resample", "grpo_long"), steps=24, problems=6, samples=4, difficulties=("a",))
STAGE = replace(comparison_of(SHAPE, 100), every=12)
OWN = sum(4000 + step for step in range(24))  # tokens of a run that report_results writes
HALF = sum(4000 + step for step in range(12))
LONG = OWN + 24 * 4023  # grpo_long goes on with its last step's tokens
RIGHT = {"probe": (1, 2), "npo": (2, 4), "resample": (1, 3), "grpo_long": (1, 2, 2, 3)}  # of four samples, after every 12 steps


def curve(policy: str, ids: list[str], extra: int = 0) -> list[Point]:
    return [Point(12 * i, dict.fromkeys(ids, right), dict.fromkeys(ids, min(4, right + extra))) for i, right in enumerate(RIGHT[policy], 1)]


@pytest.fixture
def layout(tmp_path):
    written = write_comparison(tmp_path, SHAPE)
    for seed in SHAPE.seeds:
        own = replace(written, seed=seed)
        evaluation = json.loads(own.evaluation("initial").read_text())
        own.evaluation("initial").write_text(json.dumps(evaluation | {"correct": dict.fromkeys(evaluation["correct"], 0)}))
        for run in RIGHT:
            facts = {"samples": 4, "temperature": 1.0, "policy_sha256": SHA}
            write_curve(own, run, curve(run, list(evaluation["correct"]), extra=1), facts)
    return written


def test_a_way_is_straight_between_what_is_known_and_nothing_outside():
    way = Way(np.array([10.0, 20.0, 40.0]), np.array([[0.0, 1.0], [0.5, 1.0], [1.0, 0.0]]))
    assert [way.at(spent).tolist() for spent in (10, 15, 20, 30, 40)] == [[0, 1], [0.25, 1], [0.5, 1], [0.75, 0.5], [1, 0]]
    assert way.at(9.9) is way.at(40.1) is None


def test_a_run_is_evaluated_from_where_it_began():
    assert curve_steps(30, 100) == [30, 60, 90, 100]
    assert curve_steps(30, 100, 50) == [50, 60, 90, 100]


def test_the_way_of_a_run_that_began_later_begins_there(layout):
    loaded = load_comparison(STAGE, layout)
    seed = loaded.results.seeds[0]
    later = replace(seed.runs["resample"], metrics=seed.runs["resample"].metrics[12:])
    seeds = (replace(seed, runs={**seed.runs, "resample": later}), *loaded.results.seeds[1:])
    comparison = replace(loaded, results=replace(loaded.results, seeds=seeds))
    own = way(comparison, 0, "resample", "last", "tokens")
    assert own.spent_K.tolist() == [0, OWN - HALF]
    assert own.values_KX.mean(axis=1).tolist() == [0.25, 0.75]


def test_differences_at_equal_tokens_by_hand(layout):
    comparison = load_comparison(STAGE, layout)
    found = {(e.method, e.what, e.unit, e.budget): e for e in compare_equal(comparison)}
    assert baseline(comparison) == "grpo_long"
    half = found["resample", "last", "tokens", 0.5]  # half of the tokens are a little more than those of half of the steps
    beyond = (0.5 * OWN - HALF) / (OWN - HALF)
    assert half.baseline == pytest.approx((1 + beyond) / 4)
    assert half.found.value == pytest.approx((1 + 2 * beyond) / 4 - half.baseline)
    whole = found["resample", "last", "tokens", 1.0]
    assert (whole.spent, whole.baseline, whole.found.value) == (OWN, 0.5, pytest.approx(0.25))
    end = found["npo", "last", "tokens", "the end of the shorter"]
    assert end.spent == 2 * OWN + GUIDE_TOKENS
    later = (2 * OWN + GUIDE_TOKENS - OWN - 12 * 4023) / (12 * 4023)  # grpo_long on its way from 2 of 4 at step 36 to 3 at its end
    assert end.baseline == pytest.approx((2 + later) / 4 if later <= 1 else 0.75)
    assert end.found.value == pytest.approx(1.0 - end.baseline)
    assert found["npo", "last", "tokens", 0.5].found is None, "the probe and the guides are not paid for yet"
    assert found["npo", "last", "tokens", 1.5].found is not None
    averaged = found["resample", "averaged", "tokens", 1.0]
    assert (averaged.baseline, averaged.found.value) == (0.75, pytest.approx(0.25))
    assert found["resample", "last", "tokens", 2.0].found is None, "it has ended"


def test_at_equal_seconds_and_in_training_reward(layout):
    short = load_comparison(replace(STAGE, methods=["npo", "resample"]), layout)
    found = {(e.method, e.what, e.unit, e.budget): e for e in compare_equal(short)}
    assert baseline(short) == "probe"
    whole = found["resample", "last", "seconds", 1.0]
    assert (whole.spent, whole.baseline, whole.found.value) == (24 * 2.5, 0.5, pytest.approx(0.25))
    assert found["npo", "last", "seconds", "the end of the shorter"].found is None, "its probe and guides have taken more"
    assert {e.found for e in compare_equal(load_comparison(STAGE, layout)) if e.unit == "seconds"} == {None}, "grpo_long has no timings"
    reward = found["resample", "reward", "tokens", 1.0]
    assert reward.found.low < reward.found.value < reward.found.high
    assert found["npo", "reward", "tokens", 1.0].found is None


def test_without_curves_the_reward_is_compared_and_the_page_says_what_is_missing(layout):
    build_comparison(comparison_of(SHAPE, 100), layout, SHA)
    page = (layout.comparison / "table.md").read_text()
    assert "## At equal sampled tokens: training reward" in page
    assert "comparison.every=0.25" in page
    with open(layout.comparison / "equal.csv", newline="") as stream:
        assert {row["figure"] for row in csv.DictReader(stream)} == {"reward"}


def test_the_page_opens_with_the_answer_and_one_figure(layout):
    build_comparison(STAGE, layout, SHA)
    opening = (layout.comparison / "table.md").read_text().split("\n## ")[0]
    found = json.loads((layout.comparison / "findings.json").read_text())["opening"]
    assert [f"- {finding['sentence']}" for finding in found.values()] == [line for line in opening.splitlines() if line.startswith("- ")]
    assert opening.count("](") == opening.count("](compute.svg)") == 1
    assert "Dots on lines: checkpoints" in opening
    build_comparison(comparison_of(SHAPE, 100), layout, SHA)
    assert (
        "The runs were not evaluated on their way (comparison.every=0.25 draws the lines)" in (layout.comparison / "table.md").read_text()
    )


def test_the_first_table_is_the_one_at_equal_tokens(layout):
    build_comparison(STAGE, layout, SHA)
    page = (layout.comparison / "table.md").read_text()
    assert page.index("## At equal sampled tokens: held-out mean@4") < page.index("## Held-out mean@4 at the end of each run")
    assert "| GRPO itself (grpo_long) | 0.2" in page
    (grpo,) = (line for line in page.split("\n## ")[1].splitlines() if line.startswith("| GRPO itself (grpo_long) |"))
    double = (2 * OWN - (OWN + 12 * 4023)) / (12 * 4023)  # the way from 2 of 4 to 3, on which no method is any more
    assert grpo.split("|")[5].strip() == f"{(2 + double) / 4:.3f}"
    assert "| resample, averaged | " in page
    assert "At equal seconds" not in page, "the timings of grpo_long are not there"
    with open(layout.comparison / "equal.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if (row["method"], row["equal"], row["budget"]) == ("resample", "tokens", "1.0")]
    assert [(row["figure"], row["GRPO"]) for row in rows[:2]] == [("held-out, last", "0.5"), ("held-out, averaged", "0.75")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values | {"seed": 5}, "damaged .*sha256"),
        (lambda values: {key: value for key, value in values.items() if key != "points"}, "damaged"),
        (lambda values: values | {"schema": 9}, "schema 9, this code reads schema 1"),
    ],
)
def test_a_curve_that_is_not_as_it_was_written_is_refused(layout, change, message):
    path = layout.curve("npo")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ArtifactError, match=message):
        read_curve(layout, "npo")


def test_a_curve_of_another_run_or_of_other_samples_is_refused(layout):
    layout.curve("npo").write_bytes(layout.curve("resample").read_bytes())
    with pytest.raises(ArtifactError, match="of run 'resample' and seed 0, expected 'npo' and 0"):
        read_curve(layout, "npo")
    ids = list(read_curve(layout, "resample")[0][0].correct)
    write_curve(layout, "npo", curve("npo", ids), {"samples": 2, "temperature": 1.0, "policy_sha256": SHA})
    with pytest.raises(ArtifactError, match=r"2 samples at temperature 1\.0 of 6 problems, expected 4"):
        load_comparison(STAGE, layout)
    layout.curve("npo").unlink()
    with pytest.raises(ArtifactError, match=r"npo/curve\.json: .*expected from the stage `evaluate`"):
        load_comparison(STAGE, layout)
