"""Figures: reward and entropy over training steps, each family of methods in a panel of its own against GRPO in grey."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from npo_pipeline.analysis import style
from npo_pipeline.analysis.comparison import look
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.series import over_seeds, series


def draw_reward(comparison: Comparison) -> style.Drawing:
    words = "A method that learns sooner leaves GRPO's grey line early; one that ends higher stays above it."
    return _draw(comparison, "curves", "Learning curves", "reward/mean", "training reward, smoothed", words)


def draw_entropy(comparison: Comparison) -> style.Drawing:
    words = "Entropy that falls sooner than GRPO's means less exploration; the paper's AutoNPO has it rise again after each intervention."
    return _draw(comparison, "entropy", "Policy entropy", "entropy", "nats per token, smoothed", words)


def _draw(comparison: Comparison, name: str, title: str, key: str, unit: str, words: str) -> style.Drawing:
    with style.house_style():
        svg = style.to_svg(_figure(comparison, key, unit))
    seeds = len(comparison.results.seeds)
    band = f"Line: mean of {seeds} seeds; band: lowest to highest seed." if seeds > 1 else "One seed, so no band. Faint: each step."
    alt = f"{title} over training steps: {look.names(comparison.results.methods)}, each family in a panel against GRPO in grey."
    return style.Drawing(name, title, svg, alt, f"{band} {words}")


def _figure(comparison: Comparison, key: str, unit: str) -> Figure:
    panels = look.panels(comparison)
    rows = -(-len(panels) // 2)
    figure = style.new_figure(0.4 + 3.1 * rows)
    grid = figure.subplots(rows, min(2, len(panels)), sharey=True, squeeze=False).ravel()
    for axes, (title, methods) in zip(grid, panels.items(), strict=False):
        _panel(axes, comparison, title, methods, key)
    for axes in grid[:: min(2, len(panels))]:
        axes.set_ylabel(unit)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    return figure


def _panel(axes: Any, comparison: Comparison, title: str, methods: Sequence[str], key: str) -> None:
    axes.set_title(title)
    for policy in (GRPO, *methods):
        _line(axes, comparison, policy, key)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("Training step")
    axes.legend(loc="best", handlelength=1.6)


def _line(axes: Any, comparison: Comparison, policy: str, key: str) -> None:
    data = series([seed.runs[policy] for seed in comparison.results.seeds], key)
    colour, order = look.colour(comparison, policy), 2 if policy == GRPO else 3
    mean, low, high = over_seeds(data.smooth_ST)
    if len(comparison.results.seeds) == 1:
        axes.plot(data.steps, data.raw_ST[0], color=colour, alpha=0.18, linewidth=0.8)
    else:
        axes.fill_between(data.steps, low, high, color=colour, alpha=0.13, linewidth=0)
    dot = "o" if len(data.steps) == 1 else ""  # a line of one step would not be seen
    axes.plot(data.steps, mean, color=colour, linewidth=2.0, marker=dot, label=look.name(policy), zorder=order)
