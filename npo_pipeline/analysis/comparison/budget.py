"""For which budgets: a score over the tokens that were sampled for it, with or without what a run needed first."""

from dataclasses import dataclass

import numpy as np

from npo_pipeline.analysis.comparison.equal import LAST, REWARD, way
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.uncertainty import Floats
from npo_pipeline.analysis.costs import cumulative_tokens
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.series import ema, since, values

POINTS = 200  # of the common grid of tokens


@dataclass(frozen=True)
class BudgetCurve:
    """A score of one policy: `tokens` (N,) sampled in all, `values_SN` seed by token, NaN where a seed has no value."""

    tokens: Floats
    values_SN: Floats


def budget_curve(comparison: Comparison, policy: str, counted: bool) -> BudgetCurve | None:
    """Smoothed training reward. `counted`: the probe, guides and demonstrations that the policy needs come first.

    None where tokens are unknown.
    """
    seeds = range(len(comparison.results.seeds))
    curves = [_paid(comparison, policy, i) if counted else _own(comparison, policy, i) for i in seeds]
    known = [curve for curve in curves if curve is not None]
    if not known or len(known) < len(curves):
        return None
    grid = np.linspace(min(x[0] for x, _ in known), max(x[-1] for x, _ in known), POINTS)
    return BudgetCurve(grid, np.array([at(grid, x, y) for x, y in known]))


def held_out_curve(comparison: Comparison, policy: str) -> BudgetCurve | None:
    """Of a run that was evaluated along its way: the mean over problems at each checkpoint, at its tokens (all paid, mean over seeds).

    None where tokens are unknown, or where seeds were evaluated at different numbers of checkpoints.
    """
    ways = [way(comparison, index, policy, LAST, "tokens") for index in range(len(comparison.results.seeds))]
    known = [found for found in ways if found is not None]
    if len(known) < len(ways) or len({len(found.spent_K) for found in known}) > 1:
        return None
    spent_SK, scores_SK = (np.array(side) for side in zip(*((f.spent_K, f.values_KX.mean(axis=1)) for f in known), strict=True))
    return BudgetCurve(spent_SK.mean(axis=0), scores_SK)


def _paid(comparison: Comparison, policy: str, index: int) -> tuple[Floats, Floats] | None:
    found = way(comparison, index, policy, REWARD, "tokens")
    return None if found is None else (found.spent_K, found.values_KX[:, 0])


def _own(comparison: Comparison, policy: str, index: int) -> tuple[Floats, Floats] | None:
    run = comparison.results.seeds[index].runs[policy]
    if policy == GRPO:  # of what guided runs began with, nobody pays
        run = since(run, comparison.results.start)
    tokens = cumulative_tokens(run)
    return None if tokens is None else (tokens, ema(values(run, "reward/mean")))


def at(grid: Floats, x: Floats, y: Floats) -> Floats:
    """`y` at the places of `grid`, between the points by straight lines; NaN outside of `x`."""
    return np.interp(grid, x, y, left=np.nan, right=np.nan)


def average(curve: BudgetCurve) -> Floats:
    """Mean over seeds where all of them have a value: a mean over fewer would jump where one ends."""
    return curve.values_SN.mean(axis=0)


def ahead_from(method: BudgetCurve, rival: BudgetCurve) -> float | None:
    """The budget from which the method's mean reward stays above its rival's, up to the largest that both know.

    None if the rival is at least as good there, or they share no budget. Example: a method that starts late at 700,000 tokens and
    is better from 800,000 on gives 800,000.
    """
    grid = np.union1d(method.tokens, rival.tokens)
    ahead = at(grid, method.tokens, average(method)) - at(grid, rival.tokens, average(rival))
    known = np.isfinite(ahead)
    grid, ahead = grid[known], ahead[known]
    if not len(grid) or ahead[-1] <= 0:
        return None
    behind = np.flatnonzero(ahead <= 0)
    return float(grid[behind[-1] + 1] if len(behind) else grid[0])
