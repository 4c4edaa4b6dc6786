"""Figures: held-out scores of each policy with their intervals: overall, over k, and by difficulty."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from npo_pipeline.analysis import style
from npo_pipeline.analysis.results import GRPO, Results
from npo_pipeline.analysis.statistics import Interval
from npo_pipeline.analysis.summary import PolicySummary, headline


def draw_evaluation(results: Results, summaries: Sequence[PolicySummary]) -> style.Drawing:
    confidence = f"{results.settings.confidence:.0%}"
    with style.house_style():
        svg = style.to_svg(_overall_figure(results, summaries))
    found = "; ".join(f"{s.label} {s.overall[headline(results)].value:.3f}" for s in summaries)
    return style.Drawing(
        "evaluation",
        "Held-out scores",
        svg,
        f"Held-out {headline(results)} of each policy with {confidence} intervals: {found}.",
        f"Left: {headline(results)}, the share of right answers among {results.settings.samples} samples per problem, on problems "
        f"that were not trained on; bars are {confidence} intervals over problems and the grey band is GRPO's. Right: pass@k, the chance "
        "that at least one of k samples is right. Overlapping intervals settle no comparison: the paired differences in the table do.",
    )


def draw_difficulty(results: Results, summaries: Sequence[PolicySummary]) -> style.Drawing | None:
    """None where all problems are of one difficulty."""
    if len(summaries[0].difficulty) < 2:
        return None
    with style.house_style():
        svg = style.to_svg(_difficulty_figure(results, summaries))
    return style.Drawing(
        "difficulty",
        "Held-out scores by difficulty",
        svg,
        f"Held-out {headline(results)} of each policy over {len(summaries[0].difficulty)} difficulty levels.",
        f"Each group of points is one difficulty (n: its problems), bars are {results.settings.confidence:.0%} intervals. "
        "Look at where the lines part: guidance should matter most where GRPO seldom samples a right answer.",
    )


def _overall_figure(results: Results, summaries: Sequence[PolicySummary]) -> Figure:
    figure = style.new_figure(max(3.2, 1.6 + 0.42 * len(summaries)))
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
    _forest(left, results, summaries)
    _pass_at_k(right, results, summaries)
    return figure


def _forest(axes: Any, results: Results, summaries: Sequence[PolicySummary]) -> None:
    metric, colours = headline(results), style.colours(results)
    grpo = next(s.overall[metric] for s in summaries if s.policy == GRPO)
    axes.axvspan(grpo.low, grpo.high, color=style.BASELINE, alpha=0.10, linewidth=0)
    for row, summary in enumerate(summaries):
        _point(axes, row, summary.overall[metric], colours[summary.policy])
    axes.set_yticks(range(len(summaries)), [style.plain(s.label) for s in summaries])
    axes.set_ylim(len(summaries) - 0.4, -0.7)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{metric} (share of right answers)")
    axes.set_title(f"Held-out {metric}")


def _point(axes: Any, row: int, found: Interval, colour: str) -> None:
    axes.plot([found.low, found.high], [row, row], color=colour, linewidth=2.6)
    axes.plot([found.value], [row], "o", color=colour, markersize=8, markeredgecolor="white")
    axes.annotate(f"{found.value:.3f}", (found.value, row), (0, 8), textcoords="offset points", ha="center", fontsize=8.5)


def _pass_at_k(axes: Any, results: Results, summaries: Sequence[PolicySummary]) -> None:
    ks, colours = sorted(set(results.settings.ks)), style.colours(results)
    offsets = _offsets(len(summaries), 0.28 if len(ks) > 1 else 0.5)
    for i, summary in enumerate(summaries):
        found = [summary.overall[f"pass@{k}"] for k in ks]
        places = [x + offsets[i] for x in range(len(ks))]
        _errors(axes, places, found, colours[summary.policy], style.MARKERS[i % len(style.MARKERS)], style.plain(summary.label))
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("k (samples per problem)")
    axes.set_ylabel("pass@k")
    axes.set_title("Held-out pass@k")
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=min(6, len(summaries)))


def _difficulty_figure(results: Results, summaries: Sequence[PolicySummary]) -> Figure:
    figure = style.new_figure(4.3)
    axes, metric, colours = figure.subplots(), headline(results), style.colours(results)
    labels, offsets = list(summaries[0].difficulty), _offsets(len(summaries), 0.5)
    for i, summary in enumerate(summaries):
        found = [summary.difficulty[label][metric] for label in labels]
        places = [x + offsets[i] for x in range(len(labels))]
        _errors(axes, places, found, colours[summary.policy], style.MARKERS[i % len(style.MARKERS)], style.plain(summary.label))
    crowded = len(labels) > 12 or max(map(len, labels)) > 10
    ticks = [f"{style.plain(label)}\nn={summaries[0].sizes[label]}" for label in labels]
    axes.set_xticks(range(len(labels)), ticks, rotation=60 if crowded else 0, fontsize=8 if crowded else 9)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("Difficulty")
    axes.set_ylabel(f"{metric} (share of right answers)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=min(6, len(summaries)))
    return figure


def _errors(axes: Any, places: Sequence[float], found: Sequence[Interval], colour: str, marker: str, label: str) -> None:
    """Points with their intervals, joined by a thin line. Lengths are clipped at zero against rounding."""
    values = [one.value for one in found]
    below = [max(0.0, one.value - one.low) for one in found]
    above = [max(0.0, one.high - one.value) for one in found]
    axes.plot(places, values, color=colour, linewidth=1.2, alpha=0.55)
    look = {"color": colour, "markersize": 6.5, "markeredgecolor": "white", "elinewidth": 1.6}
    axes.errorbar(places, values, [below, above], fmt=marker, label=label, **look)


def _offsets(count: int, width: float) -> list[float]:
    """`count` places spread evenly over `width` around zero, so that points of one group stand side by side."""
    return [width * (i / (count - 1) - 0.5) if count > 1 else 0.0 for i in range(count)]
