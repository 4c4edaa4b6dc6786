"""What a comparison opens with: one statement per question of its reader, as data and as a sentence or two.

The best of many methods ends above GRPO by chance alone, sooner or later. So it is named with the number of those that it was chosen
from, and its interval is one of so many that hold at once. Methods and settings that were tried elsewhere are in no such number.
"""

from collections.abc import Mapping, Sequence

from npo_pipeline.analysis import numbers, wording
from npo_pipeline.analysis.comparison.arrival import arrival
from npo_pipeline.analysis.comparison.best import Finding, candidates, judged, labels, standing
from npo_pipeline.analysis.comparison.equal import COMMON, LAST, REWARD, Equal, baseline, compare, total
from npo_pipeline.analysis.comparison.footing import basis, plateaus
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.near_far import near_far
from npo_pipeline.analysis.comparison.summary import Row, difference
from npo_pipeline.analysis.methods import LONG, label
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.summary import headline

WITHOUT_CURVES = (
    "Held-out scores there are not known: the runs were evaluated at their ends only, not on their way (comparison.every=0.25)."
)


def opening(comparison: Comparison, rows: Sequence[Row]) -> dict[str, Finding]:
    """Ready for JSON. Each has a `question`, an `answer` (as in findings; "unknown" without measurements) and a `sentence`."""
    what = LAST if comparison.curves else REWARD
    return {
        "equal_tokens": equal_tokens(comparison, what),
        "equal_steps": equal_steps(comparison, {row.policy: row for row in rows}),
        "arrival": arrival(comparison, candidates(comparison), what, figure(comparison, what)),
        "plateau": plateaus(comparison),
        "near_far": near_far(comparison),
        "basis": basis(comparison),
    }


def figure(comparison: Comparison, what: str) -> str:
    return f"held-out {headline(comparison.results)}" if what == LAST else "training reward (smoothed)"


def equal_tokens(comparison: Comparison, what: str) -> Finding:
    """At the end of each method, or of GRPO where that ended sooner."""
    question, methods = "Does any method end above GRPO at equal sampled tokens?", candidates(comparison)
    first = {name: compare(comparison, name, what, "tokens", COMMON) for name in methods}
    known = [name for name, equal in first.items() if equal.found]
    reason = _not_compared(comparison, [name for name in methods if name not in known])
    if known and what == REWARD and len(set(comparison.units_S)) == 1:
        known, reason = [], " Of one seed a training reward has no interval."
    reason += "" if what == LAST or not methods else f" {WITHOUT_CURVES}"
    if not known:
        said = f"At equal sampled tokens nothing can be said{'.' if methods else ': no method was run.'}{reason}"
        return {"question": question, "answer": "unknown" if methods else "not run", "sentence": said}
    wide = comparison.intervals_for_all(len(known))
    equals = {name: compare(wide, name, what, "tokens", COMMON) for name in known}
    found = judged({name: equal.found for name, equal in equals.items() if equal.found})
    best = equals[found["method"]]
    sentence = _tokens_sentence(comparison, what, best, found) + reason
    facts = {"figure": what, "tokens": best.spent, "grpo": best.baseline, "confidence_of_each": wide.confidence}
    return {"question": question, **found, **facts, "sentence": sentence}


def _tokens_sentence(comparison: Comparison, what: str, best: Equal, found: Finding) -> str:
    assert best.found is not None
    assert best.spent is not None
    assert best.baseline is not None
    where = "at equal sampled tokens, all that it needs paid for" + ("" if what == LAST else ", by the training reward")
    name, place = wording.best_of(label(best.method), found["compared"]), f"after {numbers.count(round(best.spent))} tokens"
    ended = f"{name} {_compared_at(comparison, best.method, place)}"
    score = f"at {figure(comparison, what)} {numbers.score(best.baseline + best.found.value)}"
    rival = "GRPO" if baseline(comparison) == GRPO else f"GRPO ({baseline(comparison)})"
    return (
        f"{wording.guidance_helped(best.found, where)}: {ended} {score}, {numbers.difference(best.found)} against {rival}{standing(found)}."
    )


def _compared_at(comparison: Comparison, method: str, place: str) -> str:
    """Its own end, GRPO's, or in some seeds this and in others that."""
    both = zip(_ends(comparison, method), _ends(comparison, baseline(comparison)), strict=True)
    first = {own is not None and grpo is not None and own <= grpo for own, grpo in both}
    if first == {True}:
        return f"ended {place}"
    return f"was, {place}, where {'GRPO' if first == {False} else 'the shorter of both runs'} had ended,"


def _ends(comparison: Comparison, run: str) -> list[float | None]:
    return [total(comparison, index, run, "tokens") for index in range(len(comparison.results.seeds))]


def _not_compared(comparison: Comparison, methods: list[str]) -> str:
    """Why some methods are not among those that the best is chosen from."""
    grpo = baseline(comparison)
    unknown = [name for name in methods if None in (*_ends(comparison, name), *_ends(comparison, grpo))]
    dear = [name for name in methods if name not in unknown]
    said = f" Not compared, since tokens were not logged: {labels(unknown)}." if unknown else ""
    if not dear:
        return said
    longer = "run it longer" if grpo == LONG else f"the method {LONG} is"
    return f"{said} Not compared, since GRPO was not run for the tokens that these need before they begin ({longer}): {labels(dear)}."


def equal_steps(comparison: Comparison, rows: Mapping[str, Row]) -> Finding:
    """Held-out, at the end of each run, whatever it cost."""
    question, methods = "Does any method end above GRPO at the same number of steps?", candidates(comparison)
    if not methods:
        return {"question": question, "answer": "not run", "sentence": ""}
    wide = comparison.intervals_for_all(len(methods))
    intervals = {name: difference(wide, name, GRPO).crossed for name in methods}
    found = judged(intervals)
    best, grpo, metric = rows[found["method"]], rows[GRPO], headline(comparison.results)
    assert best.steps is not None
    assert grpo.steps is not None
    gain = intervals[best.policy]
    ended = f"{wording.best_of(best.label, len(methods))} ended at held-out {metric} {numbers.score(best.average.value)}"
    cost = "" if best.compute_ratio is None else f", for {best.compute_ratio:.2f} times GRPO's tokens"
    helped = wording.guidance_helped(gain, wording.at_steps(best.steps, grpo.steps))
    facts = {"grpo": grpo.average.value, "tokens_over_grpo": best.compute_ratio, "confidence_of_each": wide.confidence}
    sentence = f"{helped}: {ended}, {numbers.difference(gain)} against GRPO{cost}{standing(found)}."
    return {"question": question, **found, **facts, "sentence": sentence}


def opening_sentences(found: Mapping[str, Finding]) -> list[str]:
    return [finding["sentence"] for finding in found.values() if finding["sentence"]]
