"""Figure: for which budgets. Held-out score and training reward over all tokens that were sampled for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from npo_pipeline.analysis import style
from npo_pipeline.analysis.comparison import look
from npo_pipeline.analysis.comparison.budget import BudgetCurve, average, budget_curve
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.summary import Row
from npo_pipeline.analysis.methods import INITIAL, LONG
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.series import over_seeds
from npo_pipeline.analysis.summary import headline

GAP = 0.025  # of the largest cost: the least distance at which two points can be told apart
GUIDED = ("npo", "autonpo")  # shown over tokens, with and without what they need first


def draw_compute(comparison: Comparison, rows: Sequence[Row]) -> style.Drawing:
    with style.house_style():
        svg = style.to_svg(_figure(comparison, rows))
    confidence = f"{comparison.stage.confidence:.0%}"
    return style.Drawing(
        "compute",
        "For which budgets",
        svg,
        f"Held-out {headline(comparison.results)} of each policy over all tokens sampled for it, and training reward over tokens.",
        "Left: what a person starting from nothing pays (probe, guides or demonstrations, and the run) against the held-out score; "
        f"bars are {confidence} intervals, points of almost equal cost stand side by side. A method is worth its two "
        "passes where it lies above GRPO with as many tokens (GRPO and grpo_long). "
        "Right: solid, a guided run's reward after everything it needs was paid; dashed, where the probe and guides exist anyway.",
    )


def _figure(comparison: Comparison, rows: Sequence[Row]) -> Figure:
    figure = style.new_figure(4.8)
    left, right = figure.subplots(1, 2)
    _points(left, comparison, rows)
    _curves(right, comparison)
    for axes in (left, right):
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


def _curves(axes: Any, comparison: Comparison) -> None:
    """grpo_long stands for GRPO, whose longer run it is; the probe where it was not run."""
    rival = LONG if LONG in comparison.results.methods else GRPO
    _band(axes, comparison, rival, budget_curve(comparison, rival, counted=True))
    for policy in (name for name in GUIDED if name in comparison.results.methods):
        _band(axes, comparison, policy, budget_curve(comparison, policy, counted=True))
        anyway = budget_curve(comparison, policy, counted=False)
        if anyway:
            axes.plot(anyway.tokens, average(anyway), color=look.colour(comparison, policy), linewidth=1.4, linestyle="--", zorder=3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", handlelength=1.6)


def _band(axes: Any, comparison: Comparison, policy: str, curve: BudgetCurve | None) -> None:
    if curve is None:
        return
    colour = look.colour(comparison, policy)
    mean = average(curve)
    known = np.isfinite(mean)  # where every seed has a value: the band ends with the line
    _, low, high = over_seeds(curve.reward_SN[:, known])
    axes.fill_between(curve.tokens[known], low, high, color=colour, alpha=0.13, linewidth=0)
    axes.plot(curve.tokens, mean, color=colour, linewidth=2.0, label=look.name(policy), zorder=3)
