"""How few tokens a method needs for the score that GRPO ends at: its first time there, over GRPO's own, of the same seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from npo_pipeline.analysis.comparison.best import Finding
from npo_pipeline.analysis.comparison.equal import Way, way
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.uncertainty import ratio_over_units
from npo_pipeline.analysis.methods import label
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.statistics import Interval
from npo_pipeline.analysis.wording import best_of

FEWER, MORE = "fewer", "more"


@dataclass(frozen=True)
class Arrival:
    """Tokens, all that a method needs among them, until its score first was what GRPO's is at the end of the probe.

    As a share of those that GRPO took until its own score first was there.
    """

    method: str
    shares_S: tuple[float, ...]  # infinite: never
    share: float | None  # of the mean tokens, over the seeds in which the method came there
    interval: Interval | None  # of the share, over seeds; None with fewer than two

    @property
    def reached(self) -> int:
        return int(np.isfinite(self.shares_S).sum())

    @property
    def everywhere(self) -> bool:
        return self.reached == len(self.shares_S)

    @property
    def place(self) -> tuple[bool, float, int]:
        """The higher the better. By the median over seeds, in which a seed that never came there has its place, as the last."""
        return self.told == FEWER, -float(np.median(self.shares_S)), self.reached

    @property
    def told(self) -> str | None:
        """FEWER or MORE than GRPO took; None where that cannot be told. Seeds that never came there are in no interval."""
        if not self.everywhere or self.interval is None:
            return None
        return FEWER if self.interval.high < 1.0 else MORE if self.interval.low > 1.0 else None


def arrivals(comparison: Comparison, methods: Sequence[str], what: str) -> list[Arrival]:
    """Of the methods whose tokens are known. [] where GRPO's are not, or where a seed of it ends no higher than it began.

    Noise lets every curve come to a height too soon, GRPO's as well: so its own first time is the measure, not its end.
    """
    grpo = [way(comparison, index, GRPO, what, "tokens") for index in range(len(comparison.results.seeds))]
    goals = [float(found.values_KX[-1].mean()) if found else None for found in grpo]
    own_S = _first_times(grpo, goals)
    known = [tokens for tokens in own_S if tokens]  # nothing has to be learnt for what the initial policy has: 0 tokens
    if len(known) < len(own_S):
        return []
    found = [[way(comparison, index, method, what, "tokens") for index in range(len(grpo))] for method in methods]
    return [
        _arrival(comparison, method, _first_times(ways, goals), known)
        for method, ways in zip(methods, found, strict=True)
        if None not in ways
    ]


def _first_times(ways: Sequence[Way | None], goals: Sequence[float | None]) -> list[float | None]:
    both = zip(ways, goals, strict=True)
    return [found.spent_at(goal) if found is not None and goal is not None else None for found, goal in both]


def _arrival(comparison: Comparison, method: str, tokens_S: Sequence[float | None], grpo_S: Sequence[float]) -> Arrival:
    shares_S = tuple(math.inf if tokens is None else tokens / grpo for tokens, grpo in zip(tokens_S, grpo_S, strict=True))
    both = zip(tokens_S, grpo_S, comparison.units_S, strict=True)
    reached = [(tokens, grpo, unit) for tokens, grpo, unit in both if tokens is not None]
    if not reached:
        return Arrival(method, shares_S, None, None)
    mine, theirs, units = zip(*reached, strict=True)
    interval = ratio_over_units(mine, theirs, units, comparison.confidence)
    return Arrival(method, shares_S, fmean(mine) / fmean(theirs), interval)


def arrival(comparison: Comparison, methods: Sequence[str], what: str, figure: str) -> Finding:
    """`figure`: what `what` is called. The shares' intervals hold for all methods at once."""
    question = f"Does any method need fewer tokens for GRPO's final {figure}?"
    wide = comparison.intervals_for_all(len(methods))
    found = arrivals(wide, methods, what)
    if not found:
        why = _why_unknown(comparison, what)
        said = f"How few tokens a method needs for GRPO's final {figure} is unknown: {why}." if methods else ""
        return {"question": question, "answer": "unknown" if methods else "not run", "sentence": said}
    best = max(found, key=lambda one: one.place)
    lost = all(one.told == MORE or not one.reached for one in found)
    facts = {
        "figure": what,
        "method": best.method,
        "compared": len(found),
        "share": {one.method: one.share for one in found},
        "interval": {one.method: [one.interval.low, one.interval.high] if one.interval else None for one in found},
        "reached": {one.method: one.reached for one in found},
        "seeds": len(best.shares_S),
        "confidence_of_each": wide.confidence,
    }
    answer = "yes" if best.told == FEWER else "no" if lost else "open"
    return {"question": question, "answer": answer, **facts, "sentence": _sentence(best, answer, len(found), figure)}


def _sentence(best: Arrival, answer: str, compared: int, figure: str) -> str:
    seeds, name, goal = len(best.shares_S), best_of(label(best.method), compared), f"GRPO's final {figure}"
    if best.share is None:
        return f"No method came to {goal} in any seed."
    certain = f" [{best.interval.low:.2f}, {best.interval.high:.2f}]" if best.interval and best.everywhere else ""
    times = f"{best.share:.2f}{certain} times GRPO's tokens{'' if best.everywhere else ' in these'}"
    came = f"{name} came there in {best.reached} of {seeds} seed{'' if seeds == 1 else 's'}, with {times}"
    if answer == "open":
        return f"Whether guidance needs fewer tokens for {goal} cannot be told from noise: {came}."
    return f"Guidance needs {best.told} tokens for {goal}: {came}."


def _why_unknown(comparison: Comparison, what: str) -> str:
    logged = all(way(comparison, index, GRPO, what, "tokens") for index in range(len(comparison.results.seeds)))
    return "GRPO ended no higher than it began, or tokens were not logged" if logged else "tokens were not logged"
