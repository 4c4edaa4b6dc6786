"""Near against far: which two methods of a comparison answer it, by how far ahead of a run its guides were."""

from statistics import fmean

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.comparison.best import Finding
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.summary import difference, difference_facts
from npo_pipeline.analysis.methods import family, label, rows
from npo_pipeline.analysis.summary import headline
from npo_pipeline.configuration.settings import MANUAL

NEAR = ("npo_rolling", "npo")  # guided all along from near by
FAR = "rlep"  # always by the finished probe
FARTHER = 1.5  # times the near guides' distance, at least, for windows to count as far ones


def distance(comparison: Comparison, method: str) -> float | None:
    """Steps from a guided step to its guide, mean over the guided steps of all seeds; None where the log does not say."""
    metrics = [row for seed in comparison.results.seeds for row in seed.runs[method].metrics]
    found = [row["guide/step"] - row["step"] for row in metrics if row["guide/step"] is not None]
    return fmean(found) if found else None


def near_and_far(comparison: Comparison) -> tuple[str, str] | None:
    """Chosen by name and by distance, never by result; None where one of the two was not run.

    Near: npo_rolling, else npo, else the scheduled method with the nearest guides. Far: the scheduled method with the farthest guides,
    if they are farther by half; else rlep, which differs from the others in more than the distance.
    """
    methods = comparison.results.methods
    scheduled = [name for name in methods if name in family(MANUAL) or name not in rows()]  # the latter: windows of one's own
    ahead = {name: found for name in scheduled if (found := distance(comparison, name)) is not None}
    near = next((name for name in NEAR if name in methods), min(ahead, key=lambda name: ahead[name], default=None))
    if near is None:
        return None
    farthest = max(ahead, key=lambda name: ahead[name], default=near)
    if farthest != near and near in ahead and ahead[farthest] >= FARTHER * ahead[near]:
        return near, farthest
    return (near, FAR) if FAR in methods else None


def near_far(comparison: Comparison) -> Finding:
    """Held-out, at the end of both runs."""
    question, pair = "Do near guides do better than far ones?", near_and_far(comparison)
    if pair is None:
        said = f"Near against far was not compared: that takes {' or '.join(NEAR)}, and {FAR} or windows with guides farther ahead."
        return {"question": question, "answer": "not run", "sentence": said}
    near, far = pair
    found, ahead = difference(comparison, near, far), {name: distance(comparison, name) for name in pair}
    gain = found.crossed
    told = f"{'Near' if gain.value > 0 else 'Far'} guides did better" if gain.excludes_zero else "Near and far guides cannot be told apart"
    names = {name: f"{label(name)}{'' if steps is None else f' ({steps:.0f} steps ahead)'}" for name, steps in ahead.items()}
    score = f"{names[near]} ended {numbers.difference(gain)} in held-out {headline(comparison.results)} against {names[far]}"
    answer = ("yes" if gain.value > 0 else "no") if gain.excludes_zero else "open"
    facts = {"near": near, "far": far, "distance": ahead, "difference": difference_facts(found)}
    return {"question": question, "answer": answer, **facts, "sentence": f"{told}: {score}."}
