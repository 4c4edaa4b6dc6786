"""The answers to what this comparison was made for, computed from its figures: as data, and as one sentence each.

An answer is "yes" or "no" as the figures have it, "open" where an interval allows both, "not run" where a method is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.comparison.best import Finding
from npo_pipeline.analysis.comparison.budget import ahead_from, budget_curve
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.opening import opening
from npo_pipeline.analysis.comparison.speedup_figure import GOAL
from npo_pipeline.analysis.comparison.summary import Row, difference, difference_facts
from npo_pipeline.analysis.methods import LONG, family
from npo_pipeline.analysis.summary import headline
from npo_pipeline.configuration.settings import AUTO, MANUAL

GAIN = 0.03  # that AutoNPO is to have over GRPO (the paper's has 2.9 points)


def findings(comparison: Comparison, rows: Sequence[Row]) -> dict[str, Any]:
    """Ready for JSON: no NaN, unknowns are null."""
    by_policy = {row.policy: row for row in rows}
    return {
        "schema": 1,
        "name": comparison.results.name,
        "seeds": len(comparison.results.seeds),
        "metric": headline(comparison.results),
        "opening": opening(comparison, rows),
        "speed": _speed(by_policy),
        "quality": _quality(comparison, by_policy),
        "equal_compute": {name: _against(comparison, by_policy, name, LONG) for name in ("autonpo", "npo")},
        "npo_over_resample": _against(comparison, by_policy, "npo", "resample"),
        "budgets": {name: _budget(comparison, by_policy, name) for name in ("autonpo", "npo")},
    }


def sentences(found: Mapping[str, Any]) -> list[str]:
    """One for each finding that the opening does not hold."""
    nested = [*found["equal_compute"].values(), found["npo_over_resample"], *found["budgets"].values()]
    return [found["speed"]["sentence"], found["quality"]["sentence"], *(finding["sentence"] for finding in nested)]


def _not_run(question: str, *methods: str) -> Finding:
    return {"question": question, "answer": "not run", "sentence": f"{question} Not run: {', '.join(methods)}."}


def _speed(rows: Mapping[str, Row]) -> Finding:
    """The best method is chosen in hindsight among those that came there in every seed, by the lower of its two speed-ups.

    "open" where a speed-up hangs on the smoothing, or where held-out scores do not carry what the training reward says.
    """
    question = "Does the best NPO or AutoNPO reach GRPO's final reward in at most half of GRPO's steps?"
    tried = {name: row for name in (*family(MANUAL), *family(AUTO)) if (row := rows.get(name)) and row.speed}
    if not tried:
        return _not_run(question, "npo", "autonpo")
    everywhere = {name: ratios for name, row in tried.items() if (ratios := _speed_ups(row))}
    if not everywhere:
        return {"question": question, "answer": "no", "sentence": f"{question} No: none of {', '.join(tried)} reached it in every seed."}
    best = max(everywhere, key=lambda name: min(everywhere[name]))
    row, ratios = tried[best], everywhere[best]
    speed, carried = row.speed, bool(row.to_grpo and row.to_grpo.crossed.low > 0.0)
    assert speed is not None
    answer = "no" if max(ratios) < GOAL else "yes" if min(ratios) >= GOAL and carried else "open"
    facts = {
        "method": best,
        "steps": speed.steps,
        "grpo_steps": speed.grpo_steps,
        "speed_up": ratios[0],
        "speed_up_smoothed_further": ratios[1],
    }
    interval = asdict(speed.interval) if speed.interval else None
    certain = f" [{speed.interval.low:.2f}, {speed.interval.high:.2f}]" if speed.interval else ", from one seed"
    steps = f"{numbers.count(_short(speed.steps))} steps against {numbers.count(_short(speed.grpo_steps))}"
    held_out = f"held-out {numbers.difference(row.to_grpo.crossed if row.to_grpo else None)}"
    sentence = f"{question} {answer.capitalize()}: {best} took {steps}, a speed-up of {ratios[0]:.2f}{certain}"
    sentence += f", {ratios[1]:.2f} with the reward smoothed further; {held_out}."
    reached = {name: f"{row.speed.reached}/{len(row.speed.steps_S)}" for name, row in tried.items() if row.speed}
    return {"question": question, "answer": answer, **facts, "interval": interval, "reached": reached, "sentence": sentence}


def _speed_ups(row: Row) -> tuple[float, float] | None:
    """At both smoothings; None where a seed never came there."""
    speeds = [speed for speed in (row.speed, row.slow_speed) if speed and speed.everywhere and speed.ratio is not None]
    return (speeds[0].ratio or 0.0, speeds[1].ratio or 0.0) if len(speeds) == 2 else None


def _quality(comparison: Comparison, rows: Mapping[str, Row]) -> Finding:
    question = f"Is autonpo's average at least {GAIN:g} above GRPO's, for certain above it, and not below the best manual NPO?"
    auto = rows.get("autonpo")
    if not auto or not auto.to_grpo:
        return _not_run(question, "autonpo")
    manual = max((rows[name] for name in family(MANUAL) if name in rows), key=lambda row: row.average.value, default=None)
    gain = auto.to_grpo.crossed
    checks = {"gain_is_enough": gain.value >= GAIN, "interval_excludes_zero": gain.low > 0.0}
    facts: Finding = {"minus_grpo": difference_facts(auto.to_grpo)}
    words = f"{numbers.difference(gain)} against GRPO"
    if manual:
        against = difference(comparison, "autonpo", manual.policy)
        checks["not_below_best_manual"] = against.crossed.value >= 0.0
        facts |= {"best_manual": manual.policy, "minus_best_manual": difference_facts(against)}
        words += f", {numbers.difference(against.crossed)} against {manual.policy}"
    answer = _yes(all(checks.values()))
    sentence = f"{question} {answer.capitalize()}: {words}."
    return {"question": question, "answer": answer, **checks, **facts, "sentence": sentence}


def _against(comparison: Comparison, rows: Mapping[str, Row], method: str, other: str) -> Finding:
    """The held-out difference of two methods, with what each cost in tokens."""
    question = f"Does {method} beat {other}?"
    if missing := [name for name in (method, other) if name not in rows]:
        return _not_run(question, *missing)
    found = difference(comparison, method, other)
    above, below = found.crossed.low > 0.0, found.crossed.high < 0.0
    answer = "yes" if above else "no" if below else "open"
    tokens = {name: rows[name].total_tokens for name in (method, other)}
    paid = " against ".join(numbers.count(_short(value)) for value in tokens.values())
    sentence = f"{question} {answer.capitalize()}: {numbers.difference(found.crossed)}, for {paid} sampled tokens in all."
    return {"question": question, "answer": answer, "difference": difference_facts(found), "tokens": tokens, "sentence": sentence}


def _budget(comparison: Comparison, rows: Mapping[str, Row], method: str) -> Finding:
    """From how many sampled tokens on the method's training reward is above that of the longer GRPO run."""
    question = f"From which budget on does {method} train better than {LONG}?"
    if missing := [name for name in (method, LONG) if name not in rows]:
        return _not_run(question, *missing)
    rival = budget_curve(comparison, LONG, counted=True)
    own = {counted: budget_curve(comparison, method, counted=counted) for counted in (True, False)}
    found = {counted: ahead_from(curve, rival) if curve and rival else None for counted, curve in own.items()}
    tokens = {"counted": found[True], "probe_exists_anyway": found[False]}
    words = f"{_from(found[True]).capitalize()} where the probe and guides are paid for, {_from(found[False])} where they exist anyway"
    return {"question": question, "answer": _yes(found[True] is not None), "tokens": tokens, "sentence": f"{question} {words}."}


def _from(tokens: float | None) -> str:
    return "never" if tokens is None else f"from {round(tokens):,} tokens on"


def _short(value: float | None) -> float | None:
    """One digit for small means, none for large ones."""
    return None if value is None else round(value, 1) if value < 1000 else round(value)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
