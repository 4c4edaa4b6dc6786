"""The outcome in plain words, computed from the figures: it claims no more than the intervals allow."""

from collections.abc import Sequence

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.plateau import plateau
from npo_pipeline.analysis.results import GRPO, Results, policy_label
from npo_pipeline.analysis.statistics import Interval
from npo_pipeline.analysis.summary import PolicySummary, headline
from npo_pipeline.grpo.silence import nothing_learnt


def outcome(results: Results, summaries: Sequence[PolicySummary]) -> list[str]:
    """Sentences: what GRPO did, what each method did against it, and how far this carries."""
    by_policy = {summary.policy: summary for summary in summaries}
    methods = [_method(results, by_policy, name) for name in results.methods]
    return [*_silent_runs(results), _baseline(results, by_policy), *_plateaus(results), *_start(results), *methods, _caveat(results)]


def averaged_outcome(results: Results, averages: Sequence[PolicySummary]) -> list[str]:
    """What averaging each run's last checkpoints made of it, and which method is ahead where all are averaged; [] without averages."""
    if not averages:
        return []
    metric, grpo = headline(results), averages[0]
    start = f"Averaged over its last checkpoints, GRPO has {numbers.interval(grpo.overall[metric])}"
    ends = [
        f"{s.label.split(',')[0]} {numbers.score(s.overall[metric].value)}, {numbers.difference(s.to_average)} against that: "
        + (_verdict(s.to_average) if s.to_average else "")
        for s in averages[1:]
    ]
    return [f"{start}, {numbers.difference(grpo.to_grpo)} against its last one. Averaged alike: {'; '.join(ends)}."]


def _silent_runs(results: Results) -> list[str]:
    """A warning for each run from which nothing was learnt: what is said of it below is then no result."""
    found = {(name, seed.seed): nothing_learnt(seed.runs[name].metrics) for name in results.runs for seed in results.seeds}
    return [f"Warning, {policy_label(name)}, seed {seed}: {said}." for (name, seed), said in found.items() if said]


def _baseline(results: Results, by_policy: dict[str, PolicySummary]) -> str:
    metric, grpo = headline(results), by_policy[GRPO]
    start, change = by_policy["initial"].overall[metric], grpo.to_initial
    assert change is not None
    before, after = numbers.interval(start), numbers.interval(grpo.overall[metric])
    problems = numbers.count(sum(grpo.sizes.values()))
    if not change.excludes_zero:
        return (
            f"GRPO left held-out {metric} about where it was: {before} before and {after} after {_steps(grpo)}, on {problems} problems. "
            f"The change, {numbers.difference(change)}, is not distinguishable from zero."
        )
    verb = "raised" if change.value > 0 else "lowered"
    return f"GRPO {verb} held-out {metric} from {before} to {after} in {_steps(grpo)}, on {problems} problems."


def _plateaus(results: Results) -> list[str]:
    """For each seed whose probe learns no more although many of its groups are all wrong."""
    found = {seed.seed: plateau(seed.runs[GRPO]) for seed in results.seeds}
    return [
        f"GRPO is on a plateau since step {there.since}, seed {seed}: over the last half its reward changed by "
        f"{numbers.difference(there.slope)} in 100 steps, and {there.all_wrong:.0%} of the groups were all wrong."
        for seed, there in found.items()
        if there and there.there
    ]


def _start(results: Results) -> list[str]:
    if not results.start:
        return []
    return [f"Guided runs began at step {results.start} of GRPO, with its policy: their steps, tokens and seconds are of what followed."]


def _steps(summary: PolicySummary) -> str:
    steps = summary.training.steps if summary.training else 0
    return f"{steps} step" + ("" if steps == 1 else "s")


def _method(results: Results, by_policy: dict[str, PolicySummary], name: str) -> str:
    found, score = by_policy[name], numbers.score(by_policy[name].overall[headline(results)].value)
    assert found.to_grpo is not None
    assert found.training is not None
    ended = f"{name} ended at {score}, {numbers.difference(found.to_grpo)} against GRPO: {_verdict(found.to_grpo)}."
    if found.training.windows == 0:
        return f"{ended} It made no intervention, so it trained as plain GRPO."
    if not found.training.injected:
        return f"{ended} Nothing was injected: no failing group had a guide trajectory."
    return f"{ended} {_speed(by_policy, name, len(results.seeds))}"


def _verdict(found: Interval) -> str:
    if not found.excludes_zero:
        return "not distinguishable from zero"
    return "an improvement" if found.value > 0 else "a loss"


def _speed(by_policy: dict[str, PolicySummary], name: str, seeds: int) -> str:
    """How soon the method reached the training reward that GRPO ends at."""
    own, grpo = by_policy[name].training, by_policy[GRPO].training
    if own is None or grpo is None or grpo.steps_to_grpo is None:
        return ""
    if own.steps_to_grpo is None:
        return "Its training reward did not reach the level that GRPO ended at" + (" in every seed." if seeds > 1 else ".")
    mine, theirs = numbers.count(own.steps_to_grpo), numbers.count(grpo.steps_to_grpo)
    return f"Its training reward reached GRPO's final level at step {mine}, GRPO's own at step {theirs}."


def _caveat(results: Results) -> str:
    seeds, confidence = len(results.seeds), f"{results.settings.confidence:.0%}"
    covers = f"Brackets are {confidence} intervals over held-out problems"
    if seeds == 1:
        return f"{covers}; with a single training seed they say nothing about how much another seed would change."
    return f"{covers}, averaged over {seeds} training seeds; variation between seeds is shown as bands and seed means, not in the brackets."


def no_intervention(reasons: Sequence[str]) -> str:
    """Why a schedule is empty: the planner's closing remark, where it left one."""
    account = f"The planner's account: {reasons[-1]}." if reasons and reasons[-1] else "The schedule gives no reason."
    return f"No intervention was made. {account}"


def without_windows(guides: Sequence[int]) -> str:
    """Of a run without a schedule: the slots that guides took at each step."""
    if not any(guides):
        return "It has no windows, and no slot took a guide."
    guided, steps = (numbers.count(count) for count in (sum(1 for slots in guides if slots), len(guides)))
    return f"It has no windows: guides took {numbers.count(sum(guides))} slots, at {guided} of {steps} steps."
