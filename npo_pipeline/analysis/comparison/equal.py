"""Methods against GRPO at equal sampled tokens and at equal seconds: held-out scores and training reward, at several budgets.

A budget counts all that a person starting from nothing pays: of a two-pass method the probe and the guides come first, and at a budget
that they use up there is no policy of the method yet. GRPO is the longest run there is of it (grpo_long, else the probe). Between
the checkpoints that were evaluated scores are taken on straight lines, for both sides alike; outside of them there is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.uncertainty import Floats, crossed_interval
from npo_pipeline.analysis.costs import cumulative_tokens
from npo_pipeline.analysis.methods import INITIAL, LONG, label
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.series import ema, first_step, values
from npo_pipeline.analysis.statistics import Interval, t_interval

BUDGETS = (0.5, 1.0, 1.5, 2.0)  # in what GRPO's own run of the same seed took
COMMON = "the end of the shorter"  # of a method's own run and GRPO's: the most that both of them spent
LAST, AVERAGED, REWARD = "last", "averaged", "reward"  # policies whose held-out scores are compared; the training reward
UNITS = ("tokens", "seconds")


@dataclass(frozen=True)
class Equal:
    """A method minus GRPO at a budget, paired by seed (and problem); None where a seed has no value on one of the two sides."""

    method: str
    what: str  # LAST, AVERAGED or REWARD
    unit: str  # of UNITS
    budget: float | str  # of BUDGETS, or COMMON
    spent: float | None  # mean over seeds
    baseline: float | None  # GRPO's own value there
    found: Interval | None


@dataclass(frozen=True)
class Way:
    """A run of one seed: what was `spent_K` when it had the values `values_KX`, both in the order of its steps."""

    spent_K: Floats
    values_KX: Floats

    def at(self, budget: float) -> Floats | None:
        """(X,), on a straight line between two of K; None outside of what was spent."""
        if not self.spent_K[0] <= budget <= self.spent_K[-1]:
            return None
        place = float(np.interp(budget, self.spent_K, np.arange(len(self.spent_K))))
        low, part = int(place), place % 1.0
        return self.values_KX[low] if part == 0.0 else (1.0 - part) * self.values_KX[low] + part * self.values_KX[low + 1]

    def spent_at(self, height: float) -> float | None:
        """What was spent when the mean over X first came to `height`, on the same lines; None if it never did."""
        height_K = self.values_KX.mean(axis=1)
        hits = np.flatnonzero(height_K >= height)
        if not len(hits) or hits[0] == 0 or not np.isfinite(height_K[hits[0] - 1]):
            return float(self.spent_K[hits[0]]) if len(hits) else None
        return float(np.interp(height, height_K[hits[0] - 1 : hits[0] + 1], self.spent_K[hits[0] - 1 : hits[0] + 1]))


def baseline(comparison: Comparison) -> str:
    return LONG if LONG in comparison.results.methods else GRPO


def compare_equal(comparison: Comparison) -> list[Equal]:
    """Of every method but GRPO's own runs, in the order of the table; held-out scores only where runs were evaluated along their way."""
    averages = all(point.averaged is not None for curves in comparison.curves for points in curves.values() for point in points)
    held_out = (LAST, AVERAGED) if averages else (LAST,)
    figures = (*held_out, REWARD) if comparison.curves else (REWARD,)
    methods = [name for name in comparison.policies if name not in (INITIAL, GRPO, LONG)]
    budgets: tuple[float | str, ...] = (*BUDGETS, COMMON)
    places = product(UNITS, figures, methods)
    return [compare(comparison, method, what, unit, budget) for unit, what, method in places for budget in budgets]


def compare(comparison: Comparison, method: str, what: str, unit: str, budget: float | str) -> Equal:
    pairs = [_pair(comparison, index, method, what, unit, budget) for index in range(len(comparison.results.seeds))]
    known = [pair for pair in pairs if pair]
    if len(known) < len(pairs):
        return Equal(method, what, unit, budget, None, None, None)
    spent_S, mine_SX, grpo_SX = (np.array(side) for side in zip(*known, strict=True))
    found = _interval(comparison, mine_SX - grpo_SX)
    return Equal(method, what, unit, budget, float(spent_S.mean()), float(comparison.units(grpo_SX).mean()), found)


def own_value(comparison: Comparison, what: str, unit: str, budget: float) -> float | None:
    """GRPO's own value at a budget of BUDGETS, whether or not a method has one there; None where a seed's run does not reach it."""
    values = []
    for index in range(len(comparison.results.seeds)):
        run, spent = way(comparison, index, baseline(comparison), what, unit), _spent(comparison, index, GRPO, unit, budget)
        found = run.at(spent) if run and spent is not None else None
        if found is None or not np.isfinite(found).all():
            return None
        values.append(found)
    return float(comparison.units(np.array(values)).mean())


def _pair(
    comparison: Comparison, index: int, method: str, what: str, unit: str, budget: float | str
) -> tuple[float, Floats, Floats] | None:
    """Of a seed: what the budget is, and the values (X,) of the method and of GRPO there; None where one of them is not known."""
    own, theirs = (way(comparison, index, run, what, unit) for run in (method, baseline(comparison)))
    spent = _spent(comparison, index, method, unit, budget)
    if own is None or theirs is None or spent is None:
        return None
    mine, grpo = own.at(spent), theirs.at(spent)
    return None if mine is None or grpo is None or not np.isfinite([*mine, *grpo]).all() else (spent, mine, grpo)


def _spent(comparison: Comparison, index: int, method: str, unit: str, budget: float | str) -> float | None:
    """What a budget comes to in a seed."""
    if not isinstance(budget, str):
        grpo = total(comparison, index, GRPO, unit)
        return None if grpo is None else budget * grpo
    ends = [total(comparison, index, run, unit) for run in (method, baseline(comparison))]
    known = [end for end in ends if end is not None]
    return min(known) if len(known) == len(ends) else None


def _interval(comparison: Comparison, difference_SX: Floats) -> Interval:
    """Over seeds and problems; of the reward, which has no problems, over seeds. Of a single seed without problems there is no width."""
    units_UX = comparison.units(difference_SX)
    if units_UX.shape[1] > 1:
        return crossed_interval(units_UX, comparison.stage.confidence, comparison.at_once)
    return t_interval(units_UX[:, 0].tolist(), comparison.confidence) or Interval(*[float(units_UX.mean())] * 3)


def way(comparison: Comparison, index: int, run: str, what: str, unit: str) -> Way | None:
    """Of the seed with this index; None where what was spent is not known."""
    spent_T = spent_by_step(comparison, index, run, unit)
    if spent_T is None:
        return None
    found = comparison.results.seeds[index].runs[run]
    if what == REWARD:
        return Way(spent_T[1:], ema(values(found, "reward/mean"))[:, None])  # a step's reward is known when its tokens are sampled
    first = first_step(found)
    points: list[tuple[int, Mapping[str, int]]] = []
    if not first:  # of a run that began later its curve holds the start
        points.append((0, comparison.results.seeds[index].evaluations[INITIAL].correct))
    for point in comparison.curves[index][run]:
        counts = point.correct if what == LAST else point.averaged
        assert counts is not None, "averages are compared where all have them"
        points.append((point.step, counts))
    shares_KP = [[counts[i] / comparison.results.settings.samples for i in comparison.problem_ids] for _, counts in points]
    return Way(spent_T[[step - first for step, _ in points]], np.array(shares_KP))


def spent_by_step(comparison: Comparison, index: int, run: str, unit: str) -> Floats | None:
    """(T + 1,): what was spent in all before the first step, and after each of the T steps."""
    found, before = comparison.results.seeds[index].runs[run], comparison.costs[index][run].before
    if unit == "tokens":
        first, each = before.tokens, cumulative_tokens(found)
    else:
        known = [row.get("seconds") for row in found.timings]
        whole = len(known) == len(found.metrics) and None not in known
        first, each = before.seconds, np.cumsum(np.array(known, dtype=np.float64)) if whole else None
    return None if first is None or each is None else first + np.concatenate([[0.0], each])


def total(comparison: Comparison, index: int, run: str, unit: str) -> float | None:
    """What a run of a seed had spent when it ended."""
    spent = spent_by_step(comparison, index, run, unit)
    return None if spent is None else float(spent[-1])


def csv_rows(found: Sequence[Equal]) -> list[dict[str, Any]]:
    """A row per unit, figure, method and budget; empty cells where there is no value."""
    return [
        {
            "equal": equal.unit,
            "figure": equal.what if equal.what == REWARD else f"held-out, {equal.what}",
            "method": label(equal.method),
            "budget": equal.budget,
            "spent": equal.spent,
            "GRPO": equal.baseline,
            "minus GRPO": equal.found.value if equal.found else None,
            "minus GRPO low": equal.found.low if equal.found else None,
            "minus GRPO high": equal.found.high if equal.found else None,
        }
        for equal in found
    ]
