"""Builds the report of an experiment: report.html and the folder comparison/."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from npo_pipeline.analysis.costs import load_method, seed_costs
from npo_pipeline.analysis.load import load_results
from npo_pipeline.analysis.report.answer import Costs, answer
from npo_pipeline.analysis.report.figures import draw_figures
from npo_pipeline.analysis.report.html import render_report
from npo_pipeline.analysis.report.tables import csv_table, markdown_tables
from npo_pipeline.analysis.results import Results
from npo_pipeline.analysis.spending import spending, spending_rows
from npo_pipeline.analysis.style import Drawing
from npo_pipeline.analysis.summary import PolicySummary, summarise_averages, summarise_policies
from npo_pipeline.configuration.stages import ReportStage
from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.atomic import new_folder, write_text
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import NAME


def build_report(stage: ReportStage, layout: Layout, config_sha256: str) -> None:
    """Write comparison/{table.csv,table.md,*.svg}, replacing the folder as a whole, and then report.html.

    A folder with a manifest is the stage `comparison`'s, over more methods and seeds than a report: it is left alone.
    `layout` may be of any seed. Raises ArtifactError for what is missing or damaged, StorageError if the disk refuses.
    """
    results = load_results(stage, layout)
    summaries, averages, costs = summarise_policies(results), summarise_averages(results), known_costs(layout, results)
    drawings = draw_figures(results, summaries, costs)
    used = spending_rows(spending(layout, results))
    page = render_report(stage, results, summaries, averages, drawings, answer(results, summaries, costs), used, config_sha256)
    if not (layout.comparison / NAME).is_file():
        _write_comparison(layout.comparison, results, [*summaries, *averages], drawings)
    write_text(layout.report, page)


def known_costs(layout: Layout, results: Results) -> Costs | None:
    """What every run cost, of each seed. None where that is not on record, or later rounds paid for earlier ones."""
    if any("/" in name for name in results.methods):
        return None
    configs = {name: load_method(layout.root / "config" / f"guided-{name}.yaml") for name in results.methods}
    try:
        return [seed_costs(replace(layout, seed=seed.seed), seed.runs, configs) for seed in results.seeds]
    except ArtifactError:  # a report does without: it says that they are unknown
        return None


def _write_comparison(place: Path, results: Results, rows: Sequence[PolicySummary], drawings: Mapping[str, Drawing]) -> None:
    with new_folder(place) as folder:
        (folder / "table.csv").write_text(csv_table(results, rows), encoding="utf-8")
        (folder / "table.md").write_text(markdown_tables(results, rows), encoding="utf-8")
        for drawing in drawings.values():
            (folder / f"{drawing.name}.svg").write_bytes(drawing.svg)
