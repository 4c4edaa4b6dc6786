"""Figure of the stage `measure`: Q, V and S over the distance as the paper's Figure 2, and how the estimates of V compare."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from npo_pipeline.analysis import style

Row = Mapping[str, Any]

ESTIMATES = {"exp_kl": "exp(beta x KL)", "chi2": "1 + chi-square", "ess": "1 / ESS"}
COSTS = {"measured": "measured, as trained", "importance": "measured, importance-weighted", **ESTIMATES}
CURVES = (
    ("q", "Signal quality Q", "share of failed problems solved"),
    ("v_measured", "V measured: as trained", "variance / on-policy"),
    ("s_measured", "S = Q / V, V as trained", "Q / V"),
    ("v_importance", "V measured: importance-weighted", "variance / on-policy"),
)


def draw_measured(rows: Sequence[Row]) -> bytes:
    """The SVG."""
    with style.house_style():
        figure = style.new_figure(7.4)
        panels = figure.subplots(2, 3)
        colours = style.step_colours([row["current_step"] for row in rows])
        for axes, (key, title, unit) in zip(panels.flat, CURVES, strict=False):
            _curves(axes, rows, key, colours)
            axes.set(title=title, ylabel=unit, xlabel="Distance (training steps ahead)")
        _estimates(panels[1, 1], rows)
        _signals(panels[1, 2], rows)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=max(1, len(colours)))
        return style.to_svg(figure)


def _curves(axes: Any, rows: Sequence[Row], key: str, colours: Mapping[int, Any]) -> None:
    """One line per current step, with intervals where there are any; V on a logarithmic axis, where an exponential is straight."""
    for i, (step, colour) in enumerate(colours.items()):
        mine = _known([row for row in rows if row["current_step"] == step], key)
        x, y = _column(mine, "distance") + 0.5 * i, _column(mine, key)  # moved apart, so that bars do not hide each other
        errors = None
        if mine and f"{key}_low" in mine[0]:
            errors = np.maximum(0.0, [y - _column(mine, f"{key}_low"), _column(mine, f"{key}_high") - y])
        axes.errorbar(x, y, errors, color=colour, marker="o", markersize=4, linewidth=1.6, elinewidth=0.9, label=f"current step {step}")
    if key.startswith("v_"):
        axes.axhline(1.0, color=style.FAINT, linewidth=1.0, linestyle="--")
        _logarithmic(axes, "y")
    else:
        axes.set_ylim(bottom=0.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def _estimates(axes: Any, rows: Sequence[Row]) -> None:
    """Every pair: an estimate that predicts V lies along a rising line."""
    for (name, label), colour, marker in zip(ESTIMATES.items(), style.METHODS, "os^", strict=False):
        known = _known(_known(rows, f"v_{name}"), "v_measured")
        axes.plot(_column(known, "v_measured"), _column(known, f"v_{name}"), marker, color=colour, markersize=4.5, alpha=0.8, label=label)
    axes.set(title="Estimates against V as trained", xlabel="V measured", ylabel="V estimated")
    _logarithmic(axes, "x")
    _logarithmic(axes, "y")
    axes.legend(loc="best")


def _signals(axes: Any, rows: Sequence[Row]) -> None:
    """S by every V, the mean over current steps at distances that all of them have, as a share of its own maximum."""
    steps = {row["current_step"] for row in rows}
    distances = sorted(d for d in {row["distance"] for row in rows} if len([row for row in rows if row["distance"] == d]) == len(steps))
    for (name, label), colour in zip(COSTS.items(), (style.INK, style.METHODS[3], *style.METHODS), strict=False):
        mean = np.array([np.mean([row[f"s_{name}"] for row in rows if row["distance"] == d]) for d in distances])
        if np.isfinite(mean).any():
            axes.plot(distances, mean / np.nanmax(mean), color=colour, marker=".", label=label)
    axes.set(title="Mean S by each V", xlabel="Distance (training steps ahead)", ylabel="S / its maximum")
    axes.set_ylim(0.0, 1.6)
    axes.legend(loc="upper left", fontsize=8)


def _logarithmic(axes: Any, which: str) -> None:
    """Of base 2, labelled with plain numbers; an axis without any data stays as it is."""
    if not any(np.isfinite(line.get_data()[which == "y"]).any() for line in axes.get_lines() if len(line.get_xdata())):
        return
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(base=2, numticks=8))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _known(rows: Sequence[Row], key: str) -> list[Row]:
    return [row for row in rows if math.isfinite(row[key])]


def _column(rows: Sequence[Row], key: str) -> Any:
    return np.array([row[key] for row in rows], dtype=float)
