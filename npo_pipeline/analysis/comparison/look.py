"""What the figures of a comparison share."""

from collections.abc import Sequence
from typing import Any

from npo_pipeline.analysis import style
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.methods import family, label
from npo_pipeline.analysis.statistics import Interval
from npo_pipeline.configuration.settings import FAMILIES

MOST_LINES = 4  # beside GRPO's, in one panel


def panels(comparison: Comparison) -> dict[str, list[str]]:
    """Title and methods of each small panel: by family, and at most four lines in each."""
    methods = comparison.results.methods
    found = {title: [name for name in family(title) if name in methods] for title in FAMILIES}
    others = [name for name in methods if not any(name in names for names in found.values())]
    for start in range(0, len(others), MOST_LINES):
        found[f"Other methods {1 + start // MOST_LINES}" if len(others) > MOST_LINES else "Other methods"] = others[
            start : start + MOST_LINES
        ]
    return {title: names for title, names in found.items() if names}


def colour(comparison: Comparison, policy: str) -> Any:
    return style.colours(comparison.results)[policy]


def marker(comparison: Comparison, policy: str) -> str:
    """With its colour it names a policy, also where there are more policies than colours."""
    return (
        "o"
        if policy not in comparison.results.methods
        else style.MARKERS[1:][comparison.results.methods.index(policy) % (len(style.MARKERS) - 1)]
    )


def name(policy: str) -> str:
    return style.plain(label(policy))


def names(policies: Sequence[str]) -> str:
    return ", ".join(label(policy) for policy in policies)


def lengths(found: Interval) -> list[list[float]]:
    """Error bars below and above a point, in matplotlib's shape; clipped at zero against rounding."""
    return [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
