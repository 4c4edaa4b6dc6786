"""Figure: the answer at a glance. Left at the same steps, held-out; right at the same sampled tokens, in training reward."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from npo_pipeline.analysis import style
from npo_pipeline.analysis.costs import cumulative_tokens
from npo_pipeline.analysis.report.answer import Costs
from npo_pipeline.analysis.results import GRPO, Results
from npo_pipeline.analysis.series import Floats, ema, values
from npo_pipeline.analysis.summary import PolicySummary, headline


def draw_answer(results: Results, summaries: Sequence[PolicySummary], costs: Costs | None) -> style.Drawing:
    with style.house_style():
        svg = style.to_svg(_figure(results, summaries, costs))
    return style.Drawing(
        "answer",
        "The answer at a glance",
        svg,
        f"Left: held-out {headline(results)} with intervals of GRPO and each method. Right: training reward over sampled tokens.",
        "Left: dots are held-out scores after training, bars their intervals; right of the dashed line is better than GRPO. Right: "
        "training reward over the tokens that were sampled for it. Solid: the run's own tokens, as if the probe and its guides existed "
        "anyway. Dotted: the same run with probe and guides paid for. At one place on the axis, the higher line is better.",
    )


def _figure(results: Results, summaries: Sequence[PolicySummary], costs: Costs | None) -> Figure:
    shown = [summary for summary in summaries if summary.policy != "initial"]
    figure = style.new_figure(1.5 + 0.32 * max(4, len(shown)))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _held_out(left, results, shown)
    _over_tokens(right, results, [summary.policy for summary in shown], costs)
    return figure


def _held_out(axes: Any, results: Results, shown: Sequence[PolicySummary]) -> None:
    metric, colours = headline(results), style.colours(results)
    for place, summary in enumerate(shown):
        found = summary.overall[metric]
        axes.hlines(place, found.low, found.high, color=colours[summary.policy], linewidth=3, alpha=0.45)
        axes.plot(found.value, place, "o", color=colours[summary.policy], markersize=8)
    grpo = next(summary for summary in shown if summary.policy == GRPO)
    axes.axvline(grpo.overall[metric].value, color=style.BASELINE, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(shown)), [style.plain(summary.label) for summary in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_title("At the same steps")
    axes.set_xlabel(f"held-out {style.plain(metric)}")
    axes.grid(axis="y", visible=False)


def _over_tokens(axes: Any, results: Results, policies: Sequence[str], costs: Costs | None) -> None:
    colours, drawn = style.colours(results), False
    for policy in policies:
        before = 0.0 if policy == GRPO else _before(costs, policy)
        for start, line in ((0.0, "-"), (before, ":")):
            curve = _mean_curve(results, policy, start) if start is not None and (start or line == "-") else None
            if curve is not None:
                axes.plot(*curve, color=colours[policy], linestyle=line, linewidth=1.8)
                drawn = True
    if not drawn:
        axes.text(0.5, 0.5, "tokens were not logged", transform=axes.transAxes, ha="center", va="center", color=style.FAINT)
    axes.set_title("At the same sampled tokens")
    axes.set_xlabel("sampled tokens")
    axes.set_ylabel("training reward")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _before(costs: Costs | None, policy: str) -> float | None:
    """Tokens that the run's guides and their probe cost, mean over seeds."""
    found = [seed[policy].before.tokens for seed in costs or []]
    known = [tokens for tokens in found if tokens is not None]
    return float(np.mean(known)) if known and len(known) == len(found) else None


def _mean_curve(results: Results, policy: str, start: float) -> tuple[Floats, Floats] | None:
    """Tokens and smoothed reward, mean over seeds step by step, as far as all seeds go."""
    runs = [seed.runs[policy] for seed in results.seeds]
    tokens = [cumulative_tokens(run) for run in runs]
    known = [found for found in tokens if found is not None]
    if len(known) < len(runs):
        return None
    length = min(map(len, known))
    rewards = np.array([ema(values(run, "reward/mean"))[:length] for run in runs])
    return start + np.array([found[:length] for found in known]).mean(axis=0), rewards.mean(axis=0)
