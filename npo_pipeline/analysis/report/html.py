"""The report as one self-contained HTML page: no script, no network, everything from data sets and models escaped."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from npo_pipeline import __version__
from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.report.outcome import averaged_outcome, no_intervention, outcome, without_windows
from npo_pipeline.analysis.report.samples import choose_samples, visible
from npo_pipeline.analysis.report.tables import benchmark_table, comparison_rows, difficulty_rows, notes
from npo_pipeline.analysis.results import Results
from npo_pipeline.analysis.style import Drawing
from npo_pipeline.analysis.summary import PolicySummary, headline
from npo_pipeline.configuration.stages import ReportStage
from npo_pipeline.guidance.schedule import Schedule
from npo_pipeline.shown import short_repr

TEMPLATE = "report.html.jinja"
MOST_DECISIONS = 200  # rows of a decision table; a schedule.yaml that is longer is named instead


def render_report(
    stage: ReportStage,
    results: Results,
    summaries: Sequence[PolicySummary],
    averages: Sequence[PolicySummary],
    drawings: Mapping[str, Drawing],
    answer: Sequence[str],
    used: tuple[list[str], list[list[str]]] | None,
    config_sha256: str,
) -> str:
    """The page. Holds no time of day: equal results that took as long give equal bytes. `used`: header and cells, or None."""
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            title=stage.report.title,
            results=results,
            summaries=summaries,
            drawings=drawings,
            metric=headline(results),
            answer=answer,
            outcome=[*outcome(results, summaries), *averaged_outcome(results, averages)],
            schedules=schedules(results),
            comparison=comparison_rows(results, [*summaries, *averages]),
            difficulty=difficulty_rows(results, summaries),
            benchmarks=benchmark_table([*summaries, *averages]),
            notes=notes(results),
            used=used,
            samples=choose_samples(results, stage.report.samples),
            footer={"config_sha256": config_sha256, "version": __version__},
        )
    )


def _environment() -> Environment:
    loader = PackageLoader("npo_pipeline.analysis.report", "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"data_uri": data_uri, "difference": numbers.difference, "count": numbers.count, "duration": numbers.duration}
    return environment


def data_uri(svg: bytes) -> str:
    """An SVG file as the address of an image. As an image it can run no script and load nothing."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def schedules(results: Results) -> list[dict[str, Any]]:
    """What each method did in each seed, in the template's terms."""
    found = []
    for method in results.methods:
        for seed in results.seeds:
            run, guides = seed.runs[method], [row["guide/injected"] or 0 for row in seed.runs[method].metrics]
            none = without_windows(guides) if run.schedule is None else _why_empty(run.schedule)
            shown = _schedule(run.schedule or Schedule(method, []))
            found.append({"method": method, "seed": seed.seed, "injected": sum(guides), "none": none, **shown})
    return found


def _why_empty(schedule: Schedule) -> str:
    return visible(no_intervention([_text(decision.get("reason") or "") for decision in schedule.decisions]))


def _schedule(schedule: Schedule) -> dict[str, Any]:
    return {
        "windows": [replace(window, reason=visible(window.reason)) for window in schedule.windows],
        "decisions": [_decision(decision) for decision in schedule.decisions[:MOST_DECISIONS]],
        "left_out": max(0, len(schedule.decisions) - MOST_DECISIONS),
    }


def _decision(decision: Mapping[str, Any]) -> dict[str, str]:
    """A decision of AutoNPO as text; what the planner did not look at is a dash."""
    candidates = decision.get("candidates")
    known = [c for c in candidates if isinstance(c, Mapping)] if isinstance(candidates, list) else []
    tried = ", ".join(f"{_text(c.get('distance'))}: {_figure(c.get('s'))}{_error(c.get('s_se'))}" for c in known)
    return {
        "step": _text(decision.get("step")),
        "reward": _figure(decision.get("reward_ema")),
        "entropy": _figure(decision.get("entropy_ema")),
        "warning": _text(decision.get("warning")),
        "confirmed": _text(decision.get("confirmed")),
        "coverage": _figure(decision.get("coverage")),
        "candidates": tried or numbers.NOTHING,
        "chosen": _text(decision.get("chosen")),
        "reason": _text(decision.get("reason")),
    }


def _error(value: Any) -> str:
    """A standard error behind its figure; nothing where it is not known."""
    return "" if (shown := _figure(value)) == numbers.NOTHING else f" ± {shown}"


def _figure(value: Any) -> str:
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    return numbers.score(value) if known else numbers.NOTHING


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return numbers.NOTHING if value is None else visible(value if isinstance(value, str) else short_repr(value))
