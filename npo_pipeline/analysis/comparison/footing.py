"""What the opening of a comparison stands on: whether GRPO had stopped learning, and how many seeds and initial policies there are."""

from npo_pipeline.analysis.comparison.best import Finding, candidates
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.methods import LONG, label
from npo_pipeline.analysis.plateau import ALL_WRONG, SHORTEST, plateau
from npo_pipeline.analysis.results import GRPO

ONE_SEED = "One training seed: intervals are over problems, and another seed may come out otherwise."


def plateaus(comparison: Comparison) -> Finding:
    """Of the probe, and of longer GRPO where that was run. "yes": in every seed, "no": in none, "open": in some."""
    question = "Is GRPO itself on a plateau?"
    counts = {run: _plateaus(comparison, run) for run in (GRPO, LONG) if run in comparison.results.runs}
    there, known = counts[GRPO]
    facts = {run: {"seeds": number, "of": told} for run, (number, told) in counts.items()}
    if not known:
        said = f"Whether GRPO itself is on a plateau cannot be told: that takes {SHORTEST} steps whose rewards are known."
        return {"question": question, "answer": "unknown", "seeds": facts, "sentence": said}
    each = ", ".join(f"{label(run)} {'is on a plateau ' * (run == GRPO)}in {_of_seeds(*found)}" for run, found in counts.items())
    sentence = f"{each} (a plateau: reward flat over the last half of the run, at least {ALL_WRONG:.0%} of its groups all wrong)."
    answer = "yes" if there == known else "no" if not there else "open"
    return {"question": question, "answer": answer, "seeds": facts, "sentence": sentence}


def _plateaus(comparison: Comparison, run: str) -> tuple[int, int]:
    """In how many seeds, of how many that are long enough to tell."""
    found = [plateau(seed.runs[run]) for seed in comparison.results.seeds]
    return sum(one.there for one in found if one), sum(one is not None for one in found)


def _of_seeds(number: int, of: int) -> str:
    """Example: 1 of 4 seeds."""
    return f"{number} of {of} seed" + ("" if of == 1 else "s")


def basis(comparison: Comparison) -> Finding:
    """How many seeds and initial policies, and what the intervals are."""
    seeds, starts, confidence = len(comparison.results.seeds), len(set(comparison.starts_S)), comparison.stage.confidence
    facts = {"seeds": seeds, "initial_policies": starts, "confidence": confidence}
    over = f"{starts} initial policies" if comparison.has_starts else f"{seeds} seeds"
    rests = f"All this rests on {seeds} training seeds from {starts} initial polic{'y' if starts == 1 else 'ies'}"
    other = "" if comparison.has_starts else ", and another one may come out otherwise (policy.cold_starts)"
    rests = ONE_SEED if seeds == 1 else f"{rests}{other}. Brackets: {confidence:.0%} intervals over {over} and the problems."
    family = " Where the best of several methods is named, they are so wide that those of all of them hold at once (Bonferroni)."
    return {"question": "On how much does this rest?", **facts, "sentence": rests + (family if len(candidates(comparison)) > 1 else "")}
