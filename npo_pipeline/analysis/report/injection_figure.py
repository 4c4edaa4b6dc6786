"""Figure: how many slots of each step were given to guide trajectories, and whose they were."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from npo_pipeline.analysis import style
from npo_pipeline.analysis.results import Results

Bars = dict[int, dict[int, float]]  # guide step -> training step -> slots per seed


def injected_slots(results: Results, method: str) -> Bars:
    """Guide slots of each step, by guide step, as the mean over seeds. Steps without any are left out."""
    bars: Bars = {}
    for seed in results.seeds:
        for row in seed.runs[method].metrics:
            if row["guide/injected"]:
                steps = bars.setdefault(row["guide/step"] if row["guide/step"] is not None else -1, {})
                steps[row["step"]] = steps.get(row["step"], 0.0) + row["guide/injected"] / len(results.seeds)
    return dict(sorted(bars.items()))


def draw_injection(results: Results) -> style.Drawing:
    with style.house_style():
        svg = style.to_svg(_figure(results))
    per_seed = " (mean over seeds)" if len(results.seeds) > 1 else ""
    return style.Drawing(
        "injection",
        "Injected guide trajectories",
        svg,
        f"Guide slots per training step{per_seed} for {', '.join(results.methods)}, coloured by the guide checkpoint they come from.",
        f"Each bar counts the slots of one step{per_seed} in which a failing group received a verified trajectory of a guide checkpoint. "
        "Bars shrink within a window as the policy learns to solve those problems itself, or where the guide has no answer either.",
    )


def _figure(results: Results) -> Figure:
    bars = {method: injected_slots(results, method) for method in results.methods}
    colours = style.step_colours([guide for found in bars.values() for guide in found])
    figure = style.new_figure(0.9 + 1.55 * len(bars))
    panels = figure.subplots(len(bars), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (method, found) in zip(panels, bars.items(), strict=True):
        _panel(axes, method, found, colours)
    start, end = _span(results)
    panels[-1].set_xlim(start - 0.5, end + 0.5)
    panels[-1].set_ylim(bottom=0, top=None if colours else 1)
    panels[-1].set_xlabel("Training step")
    if colours:
        handles = [Patch(color=colour, label="unknown" if guide < 0 else str(guide)) for guide, colour in colours.items()]
        figure.legend(handles=handles, title="Guide step", loc="outside right upper", ncols=1 + len(handles) // 14, alignment="left")
    return figure


def _panel(axes: Any, method: str, bars: Bars, colours: Mapping[int, Any]) -> None:
    axes.set_title(style.plain(method))
    axes.set_ylabel("slots per step")
    base: dict[int, float] = {}
    for guide, slots in bars.items():
        bottom = [base.get(step, 0.0) for step in slots]
        axes.bar(list(slots), list(slots.values()), bottom=bottom, width=1.0, color=colours[guide], linewidth=0)
        base = base | {step: base.get(step, 0.0) + count for step, count in slots.items()}
    if not bars:
        axes.text(0.5, 0.5, "nothing injected", transform=axes.transAxes, ha="center", va="center", color=style.FAINT)
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _span(results: Results) -> tuple[int, int]:
    steps = [int(row["step"]) for seed in results.seeds for run in seed.runs.values() for row in run.metrics]
    return min(steps), max(steps)
