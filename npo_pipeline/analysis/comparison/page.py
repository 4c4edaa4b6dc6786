"""The comparison as Markdown for people, in the layout of the paper's Table 1."""

from collections.abc import Mapping, Sequence
from typing import Any

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.benchmarks import benchmark_rows
from npo_pipeline.analysis.comparison.equal import Equal
from npo_pipeline.analysis.comparison.equal_page import equal_parts
from npo_pipeline.analysis.comparison.findings import sentences
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.notes import notes
from npo_pipeline.analysis.comparison.opening import opening_sentences
from npo_pipeline.analysis.comparison.summary import Row, Speed
from npo_pipeline.analysis.comparison.uncertainty import Spread
from npo_pipeline.analysis.numbers import markdown, markdown_text
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.style import Drawing
from npo_pipeline.analysis.summary import headline

TRAINING = (
    "method",
    "steps to GRPO's final reward",
    "speed-up",
    "speed-up, smoothed further",
    "final entropy",
    "injected slots",
    "own sampled tokens",
    "all sampled tokens",
    "x GRPO",
    "own seconds",
    "all seconds",
)


def markdown_page(
    comparison: Comparison, rows: Sequence[Row], found: Mapping[str, Any], drawings: Sequence[Drawing], equal: Sequence[Equal]
) -> str:
    """The opening with the first figure, tables, further findings, notes and the other figures."""
    first, *others = drawings
    parts = [
        f"# {markdown_text(comparison.results.name)}: the methods compared",
        _bullets(opening_sentences(found["opening"])),
        *_shown(first),
        *equal_parts(comparison, equal),
        f"## Held-out {headline(comparison.results)} at the end of each run",
        markdown(*score_rows(rows)),
        *benchmark_parts(comparison, rows),
        *spread_parts(rows),
        "## Training and compute",
        markdown(*training_rows(rows)),
        "## Questions that were asked beforehand",
        _bullets(sentences(found)),
        "## Notes",
        _bullets(notes(comparison)),
    ]
    parts += [part for drawing in others for part in (f"## {drawing.title}", *_shown(drawing))]
    return "\n\n".join(parts) + "\n"


def _shown(drawing: Drawing) -> tuple[str, str]:
    return f"![{markdown_text(drawing.alt)}]({drawing.name}.svg)", markdown_text(drawing.how_to_read)


def benchmark_parts(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    """The table of held-out benchmarks, where there are any."""
    found = {row.policy: row.benchmarks for row in rows if row.benchmarks}
    if not found:
        return []
    table = markdown(*benchmark_rows(found, {row.policy: row.label for row in rows}))
    return [f"## {headline(comparison.results)} on held-out benchmarks", table, "Every benchmark counts alike in the average."]


def spread_parts(rows: Sequence[Row]) -> list[str]:
    """The parts of the variance, where there are several initial policies and several seeds of one."""
    cells = [
        [row.label, *(numbers.score(value) if found else numbers.NOTHING for found in pair for value in _parts(found))]
        for row in rows
        if (pair := (row.spread, row.spread_to_grpo)) != (None, None)
    ]
    header = ["method", *(f"{what}, {of}" for what in ("score", "minus GRPO") for of in ("between initial policies", "between seeds"))]
    return ["## Where scores differ from: standard deviations", markdown(header, cells)] if cells else []


def _parts(found: Spread | None) -> tuple[float, float]:
    return (found.starts, found.seeds) if found else (0.0, 0.0)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def score_rows(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells: a column per difficulty group where there are several, the average, and what it gains on GRPO."""
    groups = list(rows[0].groups) if len(rows[0].groups) > 1 else []
    alike = any(row.to_average for row in rows)
    header = ["method", *groups, "average", "minus GRPO", *(["minus GRPO averaged"] if alike else [])]
    cells = [
        [
            row.label,
            *(numbers.score(row.groups[name].value) for name in groups),
            numbers.interval(row.average),
            numbers.difference(row.to_grpo.crossed if row.to_grpo else None),
            *([numbers.difference(row.to_average.crossed if row.to_average else None)] if alike else []),
        ]
        for row in rows
    ]
    return header, cells


def training_rows(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of what each run took; the initial policy took none."""
    shown = [row for row in rows if row.speed is not None]
    on_gpu = any(row.total_gpu_hours for row in shown)
    unit = "GPU-hours" if on_gpu else "CPU-hours"
    return [*TRAINING, f"own {unit}", f"all {unit}"], [
        [*_training_cells(row, row.speed), *_hours(row, on_gpu)] for row in shown if row.speed
    ]


def _hours(row: Row, on_gpu: bool) -> list[str]:
    found = (row.own_gpu_hours, row.total_gpu_hours) if on_gpu else (row.own_cpu_hours, row.total_cpu_hours)
    return [numbers.hours(value) for value in found]


def _training_cells(row: Row, speed: Speed) -> list[str]:
    return [
        row.label,
        _steps(speed),
        _ratio(row, speed),
        _ratio(row, row.slow_speed or speed, count=True),
        numbers.NOTHING if row.entropy is None else numbers.score(row.entropy),
        numbers.count(_rounded(row.injected)),
        numbers.count(_rounded(row.own_tokens)),
        numbers.count(_rounded(row.total_tokens)),
        numbers.NOTHING if row.compute_ratio is None else f"{row.compute_ratio:.2f}",
        numbers.count(_rounded(row.own_seconds)),
        numbers.count(_rounded(row.total_seconds)),
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value)


def _steps(speed: Speed) -> str:
    """Example: 66.5 (7 of 8 seeds)."""
    if speed.steps is None:
        return "not reached"
    return numbers.count(round(speed.steps, 1)) + ("" if speed.everywhere else f" ({speed.reached} of {len(speed.steps_S)} seeds)")


def _ratio(row: Row, speed: Speed, count: bool = False) -> str:
    """Example: 1.78 [1.60, 1.95]; without brackets where one seed reached it. `count`: of how many seeds, where not of all."""
    if speed.ratio is None or row.policy == GRPO:
        return numbers.NOTHING
    interval = f" [{speed.interval.low:.2f}, {speed.interval.high:.2f}]" if speed.interval else ""
    few = f" ({speed.reached} of {len(speed.steps_S)} seeds)" if count and not speed.everywhere else ""
    return f"{speed.ratio:.2f}{interval}{few}"
