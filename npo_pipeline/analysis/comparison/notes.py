"""What a reader of the comparison must know: how its figures were made, and how far they carry."""

from npo_pipeline.analysis.comparison.equal_page import equal_note
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.summary import group_problems
from npo_pipeline.analysis.methods import label, rows
from npo_pipeline.analysis.series import EMA_WEIGHT, SLOW_WEIGHT
from npo_pipeline.analysis.summary import AVERAGED_NOTE, headline


def notes(comparison: Comparison) -> list[str]:
    averaged = [AVERAGED_NOTE] if comparison.averages else []
    known = [_scores(comparison), _intervals(comparison), _groups(comparison), *averaged]
    return [*known, equal_note(comparison), _speed(), *_compute(comparison), _methods(comparison)]


def _scores(comparison: Comparison) -> str:
    settings, metric = comparison.results.settings, headline(comparison.results)
    return (
        f"{metric}: the share of right answers among {settings.samples} samples per held-out problem at temperature "
        f"{settings.temperature:g}, as the mean over {len(comparison.problem_ids)} problems and {_seeds(comparison)}."
    )


def _seeds(comparison: Comparison) -> str:
    count = len(comparison.results.seeds)
    return "one training seed" if count == 1 else f"{count} training seeds"


def _intervals(comparison: Comparison) -> str:
    stage, seeds = comparison.stage, len(comparison.results.seeds)
    units = len(set(comparison.starts_S)) if comparison.has_starts else seeds
    if seeds == 1:
        return (
            f"Brackets: {stage.confidence:.0%} intervals over the problems alone, paired by problem. With one training seed they say "
            "nothing about how much another seed would change; no interval over seeds and no p-value can be given."
        )
    return (
        f"Brackets of scores: {stage.confidence:.0%} intervals over training seeds and problems, by Student's t with as many degrees of "
        "freedom as so few seeds give; differences are paired by seed and by problem. Brackets of speed-ups: seeds alone, those that came "
        "there. table.csv also has the differences' intervals over seeds alone and their "
        f"exact sign-flip p-values, which with so few cannot be smaller than {2 / 2**units:.2g}. In tables nothing is "
        f"corrected for the number of methods; the opening's brackets for the best of several are, and "
        f"with one degree of freedom less than seeds. {_starts(comparison)}"
    )


def _starts(comparison: Comparison) -> str:
    """What one initial policy for all, or several, means for the brackets."""
    several = len(set(comparison.starts_S))
    if not comparison.has_starts:
        return "All seeds start from one initial policy: what another one would change is in no interval (policy.cold_starts)."
    return (
        f"The seeds start from {several} initial policies. What was drawn at random is the initial policy, so every interval and p-value "
        "is over the means of its seeds, with as many degrees of freedom as initial policies give: what these bring is in them, and what "
        "seeds do. Each initial policy counts alike. The table of standard deviations shows both parts, by an analysis of variance, where "
        "an initial policy has several seeds; a part that comes out below 0 is shown as 0."
    )


def _groups(comparison: Comparison) -> str:
    sizes = ", ".join(f"{name}: {len(ids)}" for name, ids in group_problems(comparison).items())
    return (
        f"Columns are difficulties, neighbours merged where there are many (problems: {sizes}). The average is over problems, not columns."
    )


def _speed() -> str:
    return (
        "Steps to GRPO's final reward: the first step at which the moving average of the training reward (weight "
        f"{EMA_WEIGHT:g} on the newest step) reaches the value that GRPO of the same seed ends at; the mean over the seeds that came "
        "there. Speed-up: GRPO's own such step over the method's, for these seeds; smoothed further: with the weight "
        f"{SLOW_WEIGHT:g}. Where the two differ, it is the smoothing that speaks. Rewards count the policy's own samples only."
    )


def _compute(comparison: Comparison) -> list[str]:
    return [
        "All sampled tokens: the run's own and those of everything that it needs, what a person starting from nothing pays. Whoever needs "
        "the probe pays the whole of it and all guides, also where an early window would do with a part. A demonstration's token counts "
        "like any other, however large the model that sampled it; what a teacher cost to make is not counted.",
        "Seconds: wall-clock time of jobs that take one core each, training steps and guide jobs; on a shared machine it is more than CPU "
        "time. Preparation and evaluation, which every method pays alike, are left out.",
        "Hours: of the whole processes, loading and saving too. GPU-hours: wall-clock hours times GPUs held; CPU-hours: CPU time used.",
    ]


def _methods(comparison: Comparison) -> str:
    shown = rows()
    known = [f"{label(policy)}: {shown[policy].description}" for policy in comparison.policies if policy in shown]
    return "; ".join(known) + "."
