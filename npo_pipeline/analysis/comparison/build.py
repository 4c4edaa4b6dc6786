"""Builds comparison/ of an experiment from the finished runs and evaluations of all its seeds and methods."""

import json

from npo_pipeline.analysis.comparison.compute_figure import draw_compute
from npo_pipeline.analysis.comparison.curves import draw_entropy, draw_reward
from npo_pipeline.analysis.comparison.equal import compare_equal, csv_rows
from npo_pipeline.analysis.comparison.findings import findings
from npo_pipeline.analysis.comparison.load import load_comparison
from npo_pipeline.analysis.comparison.page import markdown_page
from npo_pipeline.analysis.comparison.speedup_figure import draw_speedup
from npo_pipeline.analysis.comparison.summary import summarise_averages, summarise_comparison
from npo_pipeline.analysis.comparison.table import csv_table, seeds_table, to_csv
from npo_pipeline.configuration.stages import ComparisonStage
from npo_pipeline.storage.atomic import new_folder
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import write_manifest


def build_comparison(stage: ComparisonStage, layout: Layout, config_sha256: str) -> None:
    """Write comparison/{table.csv,table.md,seeds.csv,equal.csv,findings.json,*.svg,manifest.json}, replacing the folder as a whole.

    `layout` may be of any seed. Raises ArtifactError for what is missing or damaged, StorageError if the disk refuses.
    """
    comparison = load_comparison(stage, layout)
    rows, averages = summarise_comparison(comparison), summarise_averages(comparison)
    found, equal = findings(comparison, rows), compare_equal(comparison)
    drawings = [draw_compute(comparison, rows), draw_reward(comparison), draw_entropy(comparison), draw_speedup(comparison, rows)]
    texts = {
        "table.csv": csv_table(comparison, [*rows, *averages]),
        "seeds.csv": seeds_table(comparison, [*rows, *averages]),
        "table.md": markdown_page(comparison, [*rows, *averages], found, drawings, equal),
        **({"equal.csv": to_csv(csv_rows(equal))} if equal else {}),
        "findings.json": json.dumps(found, indent=1, allow_nan=False) + "\n",
    }
    with new_folder(layout.comparison) as folder:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        for drawing in drawings:
            (folder / f"{drawing.name}.svg").write_bytes(drawing.svg)
        write_manifest(folder, "comparison", config_sha256, list(folder.iterdir()), {"seeds": stage.seeds, "methods": stage.methods})
