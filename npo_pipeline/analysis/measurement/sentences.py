"""The findings in words: one answer per line, for findings.md and the figure's reader."""

import math
from collections.abc import Mapping
from typing import Any

WORDS = {
    "measured": "V as trained (guide slot uncorrected)",
    "importance": "V with the slot importance-weighted, no clip",
    "clipped": "V with the slot importance-weighted and clipped",
    "slot": "V of the importance-weighted slot alone",
}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """One answer per line; for V and S once per measure of V."""
    lines = [f"Is Q concave in the distance? {_per_step(found['q'], 'curvature')}"]
    for measure, words in WORDS.items():
        part = found[measure]
        lines.append(f"{words}: how does it grow with the distance? {_per_step(part['growth'], 'slope')}")
        lines.append(f"{words}: has S = Q / V an interior maximum? {_per_step(part['peak'], 'distance')}")
        told = [_correlation(name, facts) for name, facts in ordered(part["rank_correlation"])]
        lines.append(f"{words}: rank correlation of the estimates: {'; '.join(told)}.")
        fitted = ", ".join(f"{key} {_number(value)}" for key, value in part["beta"].items())
        lines.append(f"{words}: fitted log V = intercept + beta * KL: {fitted}.")
    return lines


def ordered(correlations: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The estimate that ranks the pairs best comes first."""
    return sorted(correlations.items(), key=lambda item: -math.inf if item[1]["value"] is None else item[1]["value"], reverse=True)


def _per_step(by_step: Mapping[str, Any], key: str) -> str:
    told = []
    for step, facts in by_step.items():
        name = "mean of these" if step == "all" else f"t = {step}"
        told.append(f"{name}: {facts['answer']}" + (f" ({key} {_number(facts[key])})" if key in facts else ""))
    return "; ".join(told) + "."


def _correlation(name: str, facts: Mapping[str, Any]) -> str:
    interval = f"[{_number(facts['low'])}, {_number(facts['high'])}]"
    return f"{name} {_number(facts['value'])} {interval}, ahead {_number(facts['ahead'])}, within a current step {_number(facts['within'])}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
