"""The best of many methods, judged so that its being the best of many deceives nobody."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.methods import LONG, contenders, label
from npo_pipeline.analysis.statistics import Interval

Finding = dict[str, Any]


def candidates(comparison: Comparison) -> list[str]:
    """Methods that the best is chosen from; longer GRPO never."""
    return contenders([name for name in comparison.policies if name in comparison.results.methods and name != LONG])


def best_method(found: Mapping[str, Interval]) -> str:
    """By what it gained; one that is told above GRPO goes before those that are not, whose gain may be noise."""
    return max(found, key=lambda name: (found[name].low > 0.0, found[name].value))


def judged(found: Mapping[str, Interval]) -> Finding:
    """`found`: every method's difference to GRPO, with intervals that hold for all of them at once.

    "yes": at least one method is told above GRPO; "no": all are told below; "open" else.
    """
    above = [name for name, interval in found.items() if interval.low > 0.0]
    below = [name for name, interval in found.items() if interval.high < 0.0]
    return {
        "answer": "yes" if above else "no" if len(below) == len(found) else "open",
        "method": best_method(found),
        "compared": len(found),
        "minus_grpo": {name: asdict(interval) for name, interval in found.items()},
        "told_above": above,
        "told_below": below,
    }


def standing(found: Finding) -> str:
    """How the others did: a best method says nothing of them."""
    if found["compared"] == 1:
        return ""
    above, below = len(found["told_above"]), len(found["told_below"])
    return f"; of the {numbers.count(found['compared'])}, {above} can be told above GRPO and {below} below"


def labels(methods: list[str]) -> str:
    return ", ".join(map(label, methods))
