"""Figure: training curves of the probe and of each guided run, with the guided windows on the same steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from npo_pipeline.analysis import style
from npo_pipeline.analysis.results import GRPO, Results, Run, policy_label
from npo_pipeline.analysis.series import over_seeds, series

PANELS = (
    ("reward/mean", "Reward", "mean reward of a step"),
    ("accuracy", "Training accuracy", "share of responses that are right"),
    ("entropy", "Policy entropy", "nats per token"),
    ("groups/all_wrong", "Groups without a right answer", "share of groups"),
)
LANE = 0.3  # inches of height for a method's windows
READABLE = 0.12  # share of the steps that a bar must have to hold its guide's step


def draw_curves(results: Results) -> style.Drawing:
    with style.house_style():
        svg = style.to_svg(_figure(results))
    seeds = len(results.seeds)
    several = f"Line: mean of {seeds} seeds, smoothed; band: lowest to highest seed."
    lines = several if seeds > 1 else "Faint: each step; strong: its moving average."
    bars = "one row per seed" if seeds > 1 else "its step is written in a bar that has room for it"
    return style.Drawing(
        "curves",
        "Training curves",
        svg,
        f"Reward, accuracy, entropy and share of all-wrong groups over training steps, for {', '.join(map(policy_label, results.runs))}.",
        f"{lines} The bars below the curves mark the guided windows, in which a later checkpoint of the probe may give a trajectory to a "
        f"failing group ({bars}); ticks are the steps at which a method without windows had a right guide in a group. Reward, accuracy "
        "and all-wrong groups count the policy's own samples only; of a method that holds some of a group back, those drawn before: of "
        "fewer samples more groups are all wrong. Guidance that works lifts reward sooner than GRPO's, with fewer groups that have nothing "
        "to learn from, and without entropy falling faster.",
    )


def _figure(results: Results) -> Figure:
    lanes = LANE * len(results.methods) + 0.1
    figure = style.new_figure(6.3 + lanes)
    grid = figure.add_gridspec(3, 2, height_ratios=[3.0, 3.0, lanes])
    first = None
    for index, panel in enumerate(PANELS):
        axes = figure.add_subplot(grid[index // 2, index % 2], sharex=first)
        first = first or axes
        _panel(axes, results, *panel)
        axes.tick_params(labelbottom=False)
    for column in range(2):
        _lanes(figure.add_subplot(grid[2, column], sharex=first), results)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=min(6, len(labels)), handlelength=1.6)
    return figure


def _panel(axes: Any, results: Results, key: str, title: str, unit: str) -> None:
    axes.set_title(title)
    axes.set_ylabel(unit)
    for name in results.runs:
        _line(axes, results, name, key)
    for name in results.methods:
        for window in _windows(results, name):
            axes.axvspan(*window[:2], color=style.colours(results)[name], alpha=0.05 / len(results.seeds), linewidth=0, zorder=0)
    if key in ("accuracy", "groups/all_wrong"):
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -0.03), min(high, 1.03))


def _line(axes: Any, results: Results, name: str, key: str) -> None:
    data = series([seed.runs[name] for seed in results.seeds], key)
    colour = style.colours(results)[name]
    mean, low, high = over_seeds(data.smooth_ST)
    if len(results.seeds) == 1:
        axes.plot(data.steps, data.raw_ST[0], color=colour, alpha=0.22, linewidth=0.9)
    else:
        axes.fill_between(data.steps, low, high, color=colour, alpha=0.18, linewidth=0)
    dot = "o" if np.isfinite(mean).sum() == 1 else ""  # a line of one step would not be seen
    order = 2 if name == GRPO else 3
    axes.plot(data.steps, mean, color=colour, linewidth=2.2, marker=dot, label=style.plain(policy_label(name)), zorder=order)


def _windows(results: Results, name: str) -> list[tuple[int, int, int, int]]:
    """(from_step, to_step, guide_step, index of the seed) of each window."""
    schedules = [seed.runs[name].schedule for seed in results.seeds]
    return [(w.from_step, w.to_step, w.guide_step, i) for i, schedule in enumerate(schedules) if schedule for w in schedule.windows]


def _lanes(axes: Any, results: Results) -> None:
    """One lane per method, parted by seeds: a bar per window; without windows a tick per step with a guide."""
    for lane, name in enumerate(results.methods):
        windows, colour = _windows(results, name), style.colours(results)[name]
        guided = [] if windows else [_guided(seed.runs[name]) for seed in results.seeds]
        for window in windows:
            _bar(axes, lane, len(results.seeds), colour, window)
        if any(guided):
            _ticks(axes, lane, colour, guided)
        elif not windows:
            place = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
            axes.text(0.5, lane, "no intervention", fontsize=8, color=style.FAINT, **place)
    _dress_lanes(axes, results.methods)


def _guided(run: Run) -> list[int]:
    """The steps at which a guide stood in a group."""
    return [row["step"] for row in run.metrics if row.get("guide/injected")]


def _ticks(axes: Any, lane: int, colour: str, guided: Sequence[Sequence[int]]) -> None:
    """The guided steps of each seed, in its part of the lane."""
    height = 0.8 / len(guided)
    places = [lane - 0.4 + (seed + 0.5) * height for seed in range(len(guided))]
    axes.eventplot(guided, lineoffsets=places, linelengths=height, colors=[colour], linewidths=0.9, alpha=0.6)


def _bar(axes: Any, lane: int, seeds: int, colour: str, window: tuple[int, int, int, int]) -> None:
    """A window as a bar in its seed's part of the lane, with the step of its guide where there is room to read it."""
    start, end, guide, seed = window
    height = 0.8 / seeds
    bottom = lane - 0.4 + seed * height
    axes.broken_barh([(start, end - start)], (bottom, height), facecolor=(colour, 0.22), edgecolor=colour, linewidth=0.9)
    low, high = axes.get_xlim()
    if seeds == 1 and end - start > READABLE * (high - low):
        axes.text((start + end) / 2, lane, f"guide {guide}", ha="center", va="center", fontsize=8, clip_on=True)


def _dress_lanes(axes: Any, methods: Sequence[str]) -> None:
    axes.set_yticks(range(len(methods)), [style.plain(name) for name in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("Training step (bars: guided windows; ticks: steps with a guide)")
