"""Averaged policies in report and comparison: rows beside those of the last policies, compared with GRPO averaged alike."""

import csv
from pathlib import Path
from statistics import fmean

import pytest
from comparison_results import comparison_of, write_comparison
from report_results import SHA, Shape, stage_of, write_results

from npo_pipeline.analysis.comparison.build import build_comparison
from npo_pipeline.analysis.load import load_counts
from npo_pipeline.analysis.report.build import build_report
from npo_pipeline.storage.layout import Layout

SHAPE = Shape(seeds=(0, 1), methods=("npo", "autonpo"), steps=12, problems=16, samples=4, averages=True)
LABELS = ["initial", "GRPO", "npo", "autonpo", "GRPO, averaged", "npo, averaged", "autonpo, averaged"]


def table(layout: Layout) -> dict[str, dict[str, str]]:
    rows = csv.DictReader((layout.comparison / "table.csv").read_text().splitlines())
    return {next(iter(row.values())): row for row in rows}


def mean(layout: Layout, policy: str) -> float:
    counts = [load_counts(Layout(layout.root, seed), policy) for seed in SHAPE.seeds]
    return fmean(count / found.samples for found in counts for count in found.correct.values())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = write_results(tmp_path_factory.mktemp("averages"), SHAPE)
    build_report(stage_of(SHAPE), layout, SHA)
    return layout


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = write_comparison(tmp_path_factory.mktemp("compared"), SHAPE)
    build_comparison(comparison_of(SHAPE), layout, SHA)
    return layout


def test_a_report_has_a_row_for_each_average(report: Layout) -> None:
    rows = table(report)
    assert list(rows) == LABELS
    assert float(rows["npo, averaged"]["mean@4"]) == pytest.approx(mean(report, "npo-averaged"))
    for label, policy in (("npo, averaged", "npo-averaged"), ("autonpo, averaged", "autonpo-averaged")):
        against = {"mean@4 minus GRPO": "probe", "mean@4 minus GRPO averaged": "probe-averaged"}
        for column, other in against.items():
            assert float(rows[label][column]) == pytest.approx(mean(report, policy) - mean(report, other))
    assert {rows[label]["mean@4 minus GRPO averaged"] for label in (*LABELS[:4], "GRPO, averaged")} == {""}


def test_the_page_and_its_words_hold_them(report: Layout) -> None:
    page = report.report.read_text()
    assert "Averaged over its last checkpoints, GRPO has" in page
    assert "npo, averaged<" in page
    assert "| npo, averaged |" in (report.comparison / "table.md").read_text()


def test_the_rows_of_the_last_policies_are_as_without_averages(report: Layout, tmp_path: Path) -> None:
    plain = Shape(**(vars(SHAPE) | {"averages": False}))
    layout = write_results(tmp_path, plain)
    build_report(stage_of(plain), layout, SHA)
    rows, expected = table(report), table(layout)
    assert list(expected) == LABELS[:4]
    assert all(rows[label][column] == value for label, row in expected.items() for column, value in row.items())
    assert ", averaged<" not in layout.report.read_text()
    assert {file.name: file.read_bytes() for file in layout.comparison.glob("*.svg")} == {
        file.name: file.read_bytes() for file in report.comparison.glob("*.svg")
    }


def test_a_comparison_over_seeds_has_them_with_the_cost_of_their_run(comparison: Layout) -> None:
    rows = table(comparison)
    assert set(rows) == {"base", *LABELS[1:]}
    average, last = rows["npo, averaged"], rows["npo"]
    found = mean(comparison, "npo-averaged") - mean(comparison, "probe-averaged")
    assert float(average["mean@4 minus GRPO averaged"]) == pytest.approx(found, abs=1e-6)
    assert average["all sampled tokens"] == last["all sampled tokens"] != ""
    assert average["training steps"] == ""
    assert "minus GRPO averaged" in (comparison.comparison / "table.md").read_text()
