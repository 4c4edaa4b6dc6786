"""Methods against GRPO at equal tokens and seconds, as tables for people: the first of the comparison's page."""

from collections.abc import Sequence

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.comparison.equal import AVERAGED, BUDGETS, COMMON, REWARD, UNITS, Equal, baseline, own_value
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.methods import label
from npo_pipeline.analysis.numbers import markdown
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.summary import headline
from npo_pipeline.storage.layout import averaged

TITLES = {"tokens": "sampled tokens", "seconds": "seconds"}


def equal_parts(comparison: Comparison, found: Sequence[Equal]) -> list[str]:
    """Held-out scores where runs were evaluated along their way, then the training reward; at equal tokens, then at equal seconds.

    What is not known of any method (seconds that were not logged) has no table.
    """
    parts = []
    for unit in UNITS:
        own = [equal for equal in found if equal.unit == unit]
        held_out, reward = [equal for equal in own if equal.what != REWARD], [equal for equal in own if equal.what == REWARD]
        for title, shown in ((f"held-out {headline(comparison.results)}", held_out), ("training reward", reward)):
            if any(equal.found for equal in shown):
                parts += [f"## At equal {TITLES[unit]}: {title}, minus GRPO's", _table(comparison, shown, unit)]
    return parts


def _table(comparison: Comparison, shown: Sequence[Equal], unit: str) -> str:
    header = ["method", *(f"{budget:g} x GRPO's {unit}" for budget in BUDGETS), f"at {COMMON}"]
    rows: dict[str, list[str]] = {}
    for equal in shown:
        rows.setdefault(_name(equal.method, equal), []).append(numbers.difference(equal.found))
    return markdown(header, [*_baseline(comparison, shown, unit), *([name, *cells] for name, cells in rows.items())])


def _baseline(comparison: Comparison, shown: Sequence[Equal], unit: str) -> list[list[str]]:
    """GRPO's own values, of which the differences are."""
    rows = []
    for what in dict.fromkeys(equal.what for equal in shown):
        values = [own_value(comparison, what, unit, budget) for budget in BUDGETS]
        name = f"GRPO itself ({baseline(comparison)})" if baseline(comparison) != GRPO else "GRPO itself"
        cells = [numbers.NOTHING if value is None else numbers.score(value) for value in values]
        rows.append([f"{name}, averaged" if what == AVERAGED else name, *cells, numbers.NOTHING])
    return rows


def _name(method: str, equal: Equal) -> str:
    return label(averaged(method)) if equal.what == AVERAGED else label(method)


def equal_note(comparison: Comparison) -> str:
    """How it was made, and what is missing."""
    held_out = (
        "Held-out scores are of the checkpoints of each run that were evaluated along its way, on straight lines between them."
        if comparison.curves
        else "Held-out scores at equal budgets need runs that are evaluated along their way: comparison.every=0.25."
    )
    return (
        "At equal tokens and seconds: a budget pays for all that a method needs, so a two-pass method has no policy before its probe and "
        f"guides are paid for (a dash, as where a run has ended; {COMMON}: at the most that its run and GRPO's both took). GRPO is the "
        f"longest run of it, {label(baseline(comparison))}, and an averaged policy is compared with GRPO averaged alike. {held_out} The "
        "training reward is the moving average that speed-ups are made from, with intervals over seeds. Seconds are of shared machines."
    )
