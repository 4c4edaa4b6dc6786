"""The comparison table: one row per policy, as CSV for programs and as Markdown for people."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.benchmarks import benchmark_cells, benchmark_rows
from npo_pipeline.analysis.numbers import markdown, markdown_text
from npo_pipeline.analysis.results import Results
from npo_pipeline.analysis.series import EMA_WEIGHT
from npo_pipeline.analysis.statistics import Interval
from npo_pipeline.analysis.summary import AVERAGED_NOTE, PolicySummary, Training, headline

TRAINING = ("training steps", "steps to GRPO's final reward", "final entropy", "injected slots", "sampled tokens")


def csv_table(results: Results, summaries: Sequence[PolicySummary]) -> str:
    """Full precision; a cell is empty where a figure does not apply or was not logged."""
    rows = [_csv_row(results, summary) for summary in summaries]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _csv_row(results: Results, summary: PolicySummary) -> dict[str, Any]:
    metric = headline(results)
    row: dict[str, Any] = {"policy": summary.label, "seeds": len(results.seeds), "n_problems": sum(summary.sizes.values())}
    for name, found in summary.overall.items():
        row |= _interval_cells(name, found)
    row |= {f"{metric} difficulty={label}": found[metric].value for label, found in summary.difficulty.items()}
    row |= _interval_cells(f"{metric} minus GRPO", summary.to_grpo)
    if results.averages:
        row |= _interval_cells(f"{metric} minus GRPO averaged", summary.to_average)
    for name, interval in benchmark_cells(metric, summary.benchmarks).items():
        row |= _interval_cells(name, interval)
    return row | _training_cells(summary.training)


def _interval_cells(name: str, found: Interval | None) -> dict[str, Any]:
    cells = (found.value, found.low, found.high) if found else ("", "", "")
    return dict(zip((name, f"{name} low", f"{name} high"), cells, strict=True))


def _training_cells(training: Training | None) -> dict[str, Any]:
    names = ("steps", "steps_to_grpo", "entropy", "injected", "tokens")
    found = {name: getattr(training, name) if training else None for name in names}
    cells = {name: "" if value is None or math.isnan(value) else value for name, value in found.items()}
    return dict(zip(TRAINING, cells.values(), strict=True))


def comparison_rows(results: Results, summaries: Sequence[PolicySummary]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the comparison as text: scores with intervals, difference to GRPO, training."""
    metrics = [name for name in summaries[0].overall if name != "pass@1"]  # equal to the headline metric, so it would only take room
    alike = ["minus GRPO averaged"] if results.averages else []
    header = ["policy", *metrics, f"{headline(results)} minus GRPO", *alike, *TRAINING[1:]]
    return header, [_text_row(summary, metrics, bool(alike)) for summary in summaries]


def _text_row(summary: PolicySummary, metrics: Sequence[str], alike: bool) -> list[str]:
    cells = [summary.label, *(numbers.interval(summary.overall[name]) for name in metrics), numbers.difference(summary.to_grpo)]
    cells += [numbers.difference(summary.to_average)] if alike else []
    training = summary.training
    if training is None:
        return [*cells, *[numbers.NOTHING] * 4]
    reached = numbers.NOTHING if math.isnan(training.reward) else "not reached"
    steps = reached if training.steps_to_grpo is None else numbers.count(training.steps_to_grpo)
    entropy = numbers.NOTHING if math.isnan(training.entropy) else numbers.score(training.entropy)
    return [*cells, steps, entropy, numbers.count(training.injected), numbers.count(training.tokens)]


def difficulty_rows(results: Results, summaries: Sequence[PolicySummary]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the headline metric by difficulty: a row per difficulty, a column per policy."""
    metric = headline(results)
    header = ["difficulty", "problems", *(summary.label for summary in summaries)]
    rows = [
        [label, str(summaries[0].sizes[label]), *(numbers.interval(summary.difficulty[label][metric]) for summary in summaries)]
        for label in summaries[0].difficulty
    ]
    return header, rows


def benchmark_table(summaries: Sequence[PolicySummary]) -> tuple[list[str], list[list[str]]] | None:
    """Header and cells of the held-out benchmarks; None where there are none."""
    rows = {summary.policy: summary.benchmarks for summary in summaries if summary.benchmarks}
    return benchmark_rows(rows) if rows else None


def notes(results: Results) -> str:
    """What a reader of the tables must know."""
    settings, seeds = results.settings, len(results.seeds)
    averaged = "one training seed" if seeds == 1 else f"averages over {seeds} training seeds"
    return (
        f"{settings.samples} samples per problem at temperature {settings.temperature:g}; {averaged}. Brackets: "
        f"{settings.confidence:.0%} percentile bootstrap over problems ({settings.resamples} resamples); differences are paired "
        "by problem. Brackets do not cover the variation between training seeds. GRPO is the probe run to its end. "
        "Steps to GRPO's final reward: first step at which the moving average of the training reward "
        f"(weight {EMA_WEIGHT:g} on the newest step) reaches the value that GRPO ends at. Training figures are means over seeds. "
        "Sampled tokens are those of the run itself: a guided run also needs the probe and what the guides sampled. "
        f"pass@1 is the same as {headline(results)}." + (f" {AVERAGED_NOTE}" if results.averages else "")
    )


def markdown_tables(results: Results, summaries: Sequence[PolicySummary]) -> str:
    """Both tables with the notes; labels from data sets cannot break out of their cells."""
    parts = [f"# {markdown_text(results.name)}: comparison", markdown(*comparison_rows(results, summaries)), notes(results)]
    if len(summaries[0].difficulty) > 1:
        last = [summary for summary in summaries if summary.policy not in results.averages]
        parts += [f"## {headline(results)} by difficulty", markdown(*difficulty_rows(results, last))]
    if found := benchmark_table(summaries):
        parts += [f"## {headline(results)} on held-out benchmarks", markdown(*found)]
    return "\n\n".join(parts) + "\n"
