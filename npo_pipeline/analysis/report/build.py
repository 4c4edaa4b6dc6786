"""Builds the report of an experiment: report.html and the folder comparison/."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from npo_pipeline.analysis.load import load_results
from npo_pipeline.analysis.report.figures import draw_figures
from npo_pipeline.analysis.report.html import render_report
from npo_pipeline.analysis.report.tables import csv_table, markdown_tables
from npo_pipeline.analysis.results import Results
from npo_pipeline.analysis.style import Drawing
from npo_pipeline.analysis.summary import PolicySummary, summarise_policies
from npo_pipeline.configuration.stages import ReportStage
from npo_pipeline.storage.atomic import new_folder, write_text
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import NAME


def build_report(stage: ReportStage, layout: Layout, config_sha256: str) -> None:
    """Write comparison/{table.csv,table.md,*.svg}, replacing the folder as a whole, and then report.html.

    A folder with a manifest is the stage `comparison`'s, over more methods and seeds than a report: it is left alone.
    `layout` may be of any seed. Raises ArtifactError for what is missing or damaged, StorageError if the disk refuses.
    """
    results = load_results(stage, layout)
    summaries = summarise_policies(results)
    drawings = draw_figures(results, summaries)
    page = render_report(stage, results, summaries, drawings, config_sha256)
    if not (layout.comparison / NAME).is_file():
        _write_comparison(layout.comparison, results, summaries, drawings)
    write_text(layout.report, page)


def _write_comparison(place: Path, results: Results, summaries: Sequence[PolicySummary], drawings: Mapping[str, Drawing]) -> None:
    with new_folder(place) as folder:
        (folder / "table.csv").write_text(csv_table(results, summaries), encoding="utf-8")
        (folder / "table.md").write_text(markdown_tables(results, summaries), encoding="utf-8")
        for drawing in drawings.values():
            (folder / f"{drawing.name}.svg").write_bytes(drawing.svg)
