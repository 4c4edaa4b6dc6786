"""Figure: signal quality Q, variance cost V and effective learning signal S over distance, as the paper's Figure 2."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from npo_pipeline.analysis import style
from npo_pipeline.analysis.results import Results

PANELS = (
    ("q", "Signal quality Q", "share of failed problems solved"),
    ("v", "Variance cost V", "variance factor (1: on-policy)"),
    ("s", "Effective learning signal S = Q / V", "Q / V"),
)
LOG_SPAN = 30.0  # a panel whose values span more than this factor is drawn on a logarithmic axis

Curves = dict[int, dict[int, float]]  # current step -> distance -> value


def signal_curves(results: Results, key: str) -> Curves:
    """The statistic per current step and distance, as the mean over seeds; cells without a finite value are left out."""
    cells: dict[tuple[int, int], list[float]] = {}
    for seed in results.seeds:
        for row in seed.signal:
            if row[key] is not None and np.isfinite(row[key]):
                cells.setdefault((row["current_step"], row["distance"]), []).append(row[key])
    curves: Curves = {}
    for (current, distance), found in sorted(cells.items()):
        curves.setdefault(current, {})[distance] = float(np.mean(found))
    return curves


def mean_curve(curves: Curves) -> dict[int, float]:
    """Mean over the current steps that have a value at the distance."""
    distances = sorted({distance for curve in curves.values() for distance in curve})
    return {d: float(np.mean([curve[d] for curve in curves.values() if d in curve])) for d in distances}


def best_distance(results: Results) -> int | None:
    """The distance at which the mean of S is highest; None without any S."""
    mean = mean_curve(signal_curves(results, "s"))
    return max(mean, key=lambda distance: mean[distance]) if mean else None


def draw_signal(results: Results) -> style.Drawing:
    best, distances = best_distance(results), mean_curve(signal_curves(results, "s"))
    with style.house_style():
        svg = style.to_svg(_figure(results))
    return style.Drawing(
        "signal",
        "How far ahead should the guide be?",
        svg,
        f"Three panels over the distance from current policy to guide checkpoint: Q, V, and their ratio S. {_peak(best, list(distances))}",
        "Each thin line is one current step of the probe, the strong line their mean over the current steps that have a guide at that "
        "distance. A guide further ahead solves more of what the policy fails (Q), but differs from it more (V). "
        f"The theory of near-future guidance expects S to peak in between. {_peak(best, list(distances))}",
    )


def _peak(best: int | None, distances: list[int]) -> str:
    if best is None:
        return "No distance could be measured: no current step had both failed problems and a guide that solves some."
    if len(distances) > 2 and distances[0] < best < distances[-1]:
        return f"Here the mean of S peaks {best} steps ahead, inside the measured range."
    side = "shortest" if best == distances[0] else "longest"
    return f"Here the mean of S is highest at the {side} measured distance, {best} steps, so no interior peak was seen."


def _figure(results: Results) -> Figure:
    figure = style.new_figure(4.1)
    panels = figure.subplots(1, 3)
    currents = sorted({current for key, _, _ in PANELS for current in signal_curves(results, key)})
    colours = style.step_colours(currents)
    for axes, (key, title, unit) in zip(panels, PANELS, strict=True):
        _panel(axes, signal_curves(results, key), colours)
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.set_xlabel("Distance (training steps ahead)")
    _mark_best(panels[2], mean_curve(signal_curves(results, "s")))
    if len(currents) > 1:
        _colour_bar(figure, panels, currents, colours)
    return figure


def _panel(axes: Any, curves: Curves, colours: Mapping[int, Any]) -> None:
    for current, curve in curves.items():
        axes.plot(list(curve), list(curve.values()), color=colours[current], linewidth=1.0, alpha=0.65, marker=".", markersize=4)
    mean = mean_curve(curves)
    if not mean:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", color=style.FAINT)
        axes.set(xticks=[], yticks=[])
        return
    axes.plot(list(mean), list(mean.values()), color=style.INK, linewidth=2.4, marker="o", markersize=4.5, label="mean over current steps")
    found = [value for curve in curves.values() for value in curve.values()]
    if min(found) > 0 and max(found) / min(found) > LOG_SPAN:
        axes.set_yscale("log")
    elif min(found) < 0.5 * max(found):
        axes.set_ylim(bottom=min(0.0, min(found)))  # zero is near enough to show proportions
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def _mark_best(axes: Any, mean: Mapping[int, float]) -> None:
    if not mean:
        return
    best = max(mean, key=lambda distance: mean[distance])
    star = {"marker": "*", "markersize": 16, "color": "#D55E00", "markeredgecolor": "white", "linestyle": ""}
    axes.plot([best], [mean[best]], label=f"highest mean of S: {best} steps ahead", zorder=5, **star)
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)


def _colour_bar(figure: Figure, panels: Any, currents: list[int], colours: Mapping[int, Any]) -> None:
    """A bar of one cell per current step, labelled at no more than seven of them."""
    bar = ScalarMappable(Normalize(-0.5, len(currents) - 0.5), ListedColormap([colours[step] for step in currents]))
    shown = np.unique(np.linspace(0, len(currents) - 1, min(7, len(currents))).round().astype(int))
    drawn = figure.colorbar(bar, ax=panels, pad=0.015, aspect=28, ticks=shown, label="Current step")
    drawn.ax.set_yticklabels([str(currents[i]) for i in shown])
    drawn.outline.set_visible(False)
