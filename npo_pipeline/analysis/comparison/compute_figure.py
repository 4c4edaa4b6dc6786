"""Figure: the answer at a glance. Held-out score and training reward over all tokens that were sampled for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from npo_pipeline.analysis import style
from npo_pipeline.analysis.comparison import look
from npo_pipeline.analysis.comparison.budget import BudgetCurve, average, budget_curve, held_out_curve
from npo_pipeline.analysis.comparison.equal import baseline
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.summary import Row
from npo_pipeline.analysis.methods import INITIAL, LONG
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.statistics import t_interval
from npo_pipeline.analysis.summary import headline

GAP = 0.025  # of the largest cost: the least distance at which two points can be told apart
MOST_CURVES = 5  # of methods, in one panel


def draw_compute(comparison: Comparison, rows: Sequence[Row]) -> style.Drawing:
    with style.house_style():
        svg = style.to_svg(_figure(comparison, rows))
    confidence = f"{comparison.stage.confidence:.0%}"
    over = "initial policies" if comparison.has_starts else "seeds"
    alone = len(set(comparison.units_S)) == 1
    bands = "one seed, so no bands" if alone else f"bands: {confidence} intervals over {over}"
    many = f" Curves: of the {MOST_CURVES} methods that end highest." if len(comparison.results.methods) > MOST_CURVES else ""
    return style.Drawing(
        "compute",
        "The answer at a glance",
        svg,
        f"Held-out {headline(comparison.results)} of each policy over all tokens sampled for it, and training reward over tokens.",
        "Left: the held-out score over what a person starting from nothing pays (probe, guides or demonstrations, and the run). Points: "
        f"ends of runs, with {confidence} intervals; those of almost equal cost stand side by side. {_curves_note(comparison)} A method is "
        f"worth its tokens where it lies above GRPO with as many (GRPO and grpo_long); {bands}. "
        f"Right: solid, a run's reward after everything it needs was paid; dashed, where the probe and guides exist anyway.{many}",
    )


def _curves_note(comparison: Comparison) -> str:
    if comparison.curves:
        return "Dots on lines: checkpoints on the runs' way, mean over seeds."
    return "The runs were not evaluated on their way (comparison.every=0.25 draws the lines)."


def _figure(comparison: Comparison, rows: Sequence[Row]) -> Figure:
    figure = style.new_figure(4.8)
    left, right = figure.subplots(1, 2)
    shown = shown_policies(comparison, rows)
    _held_out_curves(left, comparison, shown)
    _points(left, comparison, rows)
    _reward_curves(right, comparison, shown)
    for axes in (left, right):
        _fit(axes)
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.set_xlabel("sampled tokens")
    left.set(title=f"Held-out {headline(comparison.results)}", ylabel="share of right answers")
    right.set(title="Training reward", ylabel="mean reward of a step, smoothed")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _points(axes: Any, comparison: Comparison, rows: Sequence[Row]) -> None:
    known = [row for row in rows if row.total_tokens is not None]
    places = side_by_side([row.total_tokens or 0.0 for row in known])
    for place, row in zip(places, known, strict=True):
        looks = {"color": look.colour(comparison, row.policy), "markersize": 7.5, "markeredgecolor": "white", "elinewidth": 1.4}
        fmt, bars = look.marker(comparison, row.policy), look.lengths(row.average)
        axes.errorbar([place], [row.average.value], yerr=bars, fmt=fmt, label=look.name(row.policy), **looks)
    if comparison.curves:
        return
    plain = [(place, row.average.value) for place, row in zip(places, known, strict=True) if row.policy in (INITIAL, GRPO, LONG)]
    axes.plot([x for x, _ in plain], [y for _, y in plain], color=style.BASELINE, linewidth=1.0, alpha=0.6, zorder=1)


def side_by_side(tokens: Sequence[float]) -> list[float]:
    """Places at which points of almost equal cost can be told apart: spread around what they have in common.

    Example: costs of 0, 1000 and 1001 are drawn at 0 and, a gap of 25 apart, around 1000.5.
    """
    gap, clusters = GAP * max(tokens, default=0.0), list[list[int]]()
    for i in sorted(range(len(tokens)), key=lambda i: tokens[i]):
        near = clusters and tokens[i] - tokens[clusters[-1][-1]] < gap
        clusters[-1].append(i) if near else clusters.append([i])
    places = list(tokens)
    for cluster in clusters:
        middle = sum(tokens[i] for i in cluster) / len(cluster)
        for rank, i in enumerate(cluster):
            places[i] = middle + gap * (rank - (len(cluster) - 1) / 2)
    return places


def _held_out_curves(axes: Any, comparison: Comparison, shown: Sequence[str]) -> None:
    for policy in shown if comparison.curves else ():
        _band(axes, comparison, policy, held_out_curve(comparison, policy), marker=".")


def _reward_curves(axes: Any, comparison: Comparison, shown: Sequence[str]) -> None:
    for policy in shown:
        curve = budget_curve(comparison, policy, counted=True)
        _band(axes, comparison, policy, curve)
        if curve:
            last = np.flatnonzero(np.isfinite(average(curve)))[-1]  # its mark, since there are more policies than colours
            looks = {"color": look.colour(comparison, policy), "markersize": 7.5, "markeredgecolor": "white", "zorder": 4}
            axes.plot(curve.tokens[last], average(curve)[last], look.marker(comparison, policy), **looks)
        first = policy not in (GRPO, LONG) and any(costs[policy].before.tokens for costs in comparison.costs)
        anyway = budget_curve(comparison, policy, counted=False) if first else None
        if anyway:
            axes.plot(anyway.tokens, average(anyway), color=look.colour(comparison, policy), linewidth=1.4, linestyle="--", zorder=3)


def shown_policies(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    """GRPO's longest run, and the methods that end highest, as many as can be told apart."""
    methods = [row for row in rows if row.policy in comparison.results.methods and row.policy != LONG]
    highest = sorted(methods, key=lambda row: -row.average.value)[:MOST_CURVES]
    return [baseline(comparison), *(row.policy for row in methods if row in highest)]


def _band(axes: Any, comparison: Comparison, policy: str, curve: BudgetCurve | None, marker: str = "") -> None:
    """The mean over what was drawn at random, and Student's interval over it, where every seed has a value."""
    if curve is None:
        return
    colour, values_UN = look.colour(comparison, policy), comparison.units(curve.values_SN)
    known = np.isfinite(values_UN).all(axis=0)
    found = [t_interval(values_U, comparison.stage.confidence) for values_U in values_UN[:, known].T]
    bounds = [(interval.low, interval.high) for interval in found if interval]
    if bounds:
        axes.fill_between(curve.tokens[known], *zip(*bounds, strict=True), color=colour, alpha=0.13, linewidth=0)
    axes.plot(curve.tokens[known], values_UN[:, known].mean(axis=0), color=colour, linewidth=2.0, marker=marker, zorder=3)


def _fit(axes: Any) -> None:
    """To lines, points and bars: two seeds have bands that are many times as high."""
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.get_lines()] or [np.array([0.0, 1.0])])
    heights = np.append(heights, [y for bars in axes.containers for part in bars[2] for y in np.ravel(part.get_segments())[1::2]])
    low, high = np.nanmin(heights), np.nanmax(heights)
    axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low)) if high > low else None
