"""Figure: how soon each method comes to the training reward that GRPO ends at."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from npo_pipeline.analysis import style
from npo_pipeline.analysis.comparison import look
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.summary import Row, Speed
from npo_pipeline.analysis.results import GRPO

GOAL = 2.0  # GRPO's final reward in half of its steps


def draw_speedup(comparison: Comparison, rows: Sequence[Row]) -> style.Drawing:
    trained = [row for row in rows if row.speed is not None]
    with style.house_style():
        svg = style.to_svg(_figure(comparison, trained))
    seeds, confidence = len(comparison.results.seeds), f"{comparison.stage.confidence:.0%}"
    bars = f"bars are {confidence} intervals over seeds" if seeds > 1 else "one seed, so no interval"
    return style.Drawing(
        "speedup",
        "Steps to GRPO's final reward",
        svg,
        f"Steps to GRPO's final training reward and speed-up over GRPO of {look.names([row.policy for row in trained])}.",
        "Left: the first step at which the smoothed training reward reaches what GRPO of the same seed ends at; a dot per seed that came "
        f"there, the line is their mean. Right: GRPO's own count over the method's, for the same seeds; {bars}; dotted: half of "
        "GRPO's steps. Seeds that never came there are in neither: read the ratio with the count beside it.",
    )


def _figure(comparison: Comparison, rows: Sequence[Row]) -> Figure:
    figure = style.new_figure(max(2.6, 1.3 + 0.4 * len(rows)))
    left, right = figure.subplots(1, 2, sharey=True)
    for place, row in enumerate(rows):
        assert row.speed is not None
        _steps(left, place, row.speed, look.colour(comparison, row.policy))
        _ratio(right, place, row, look.colour(comparison, row.policy))
    left.set_yticks(range(len(rows)), [look.name(row.policy) for row in rows])
    left.set_ylim(len(rows) - 0.4, -0.7)
    right.axvline(1.0, color=style.BASELINE, linewidth=1.2, zorder=1)
    right.axvline(GOAL, color=style.BASELINE, linewidth=1.2, linestyle=":", zorder=1)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1.04 * max(axes.get_xlim()[1], axes.dataLim.x1))
    left.set(title="Steps to GRPO's final reward", xlabel="Training step")
    right.set(title="Speed-up", xlabel="GRPO's steps / the method's")
    return figure


def _steps(axes: Any, place: int, speed: Speed, colour: Any) -> None:
    known = [step for step in speed.steps_S if step is not None]
    axes.plot(known, [place] * len(known), "o", color=colour, alpha=0.45, markersize=6, markeredgewidth=0)
    if not known:
        axes.text(0.02, place, "never reached", transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color=style.FAINT)
        return
    mean = sum(known) / len(known)
    axes.plot([mean, mean], [place - 0.25, place + 0.25], color=colour, linewidth=2.6)


def _ratio(axes: Any, place: int, row: Row, colour: Any) -> None:
    speed = row.speed
    if speed is None or speed.ratio is None or row.policy == GRPO:
        return
    if speed.interval:
        axes.errorbar([speed.ratio], [place], xerr=look.lengths(speed.interval), color=colour, elinewidth=2.4)
    axes.plot([speed.ratio], [place], "o", color=colour, markersize=8, markeredgecolor="white", zorder=3)
    text = f"{speed.ratio:.2f}" + ("" if speed.everywhere else f" ({speed.reached} of {len(speed.steps_S)} seeds)")
    axes.annotate(text, (speed.ratio, place), (0, 7), textcoords="offset points", ha="center", fontsize=8.5)
