"""The answer that a report opens with: did guidance help, by how much, at the same steps and at the same sampled tokens.

At the same steps the held-out scores are compared, with their interval. At the same tokens there are no held-out scores along a run,
so the training reward is compared there, and called so; what GRPO was not run for is left open, or taken from `grpo_long`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from npo_pipeline.analysis import numbers, wording
from npo_pipeline.analysis.costs import Cost, cumulative_tokens
from npo_pipeline.analysis.methods import LONG, contenders
from npo_pipeline.analysis.results import GRPO, Results, Run
from npo_pipeline.analysis.series import ema, first_step, since, steps, values
from npo_pipeline.analysis.statistics import for_all
from npo_pipeline.analysis.summary import PolicySummary, headline

Costs = Sequence[Mapping[str, Cost]]  # by policy, of each seed
AS_CHEAP = 1.05  # times GRPO's tokens in all, or as much less: as many responses, of slightly other lengths


@dataclass(frozen=True)
class EqualTokens:
    """Smoothed training rewards, mean over seeds, when run and GRPO had sampled as many `tokens`: the most that both did."""

    tokens: float
    own: float
    grpo: float


def answer(results: Results, summaries: Sequence[PolicySummary], costs: Costs | None) -> list[str]:
    """At the same steps; at the same tokens; with everything paid for, and what was to be had for GRPO's tokens. Empty without methods."""
    best = best_method(results, summaries)
    if best is None:
        return []
    sentences = [_same_steps(results, summaries, best), _same_tokens(results, best)]
    return [*sentences, _paid(results, summaries, best, costs), *_as_cheap(results, summaries, best, costs)]


def best_method(results: Results, summaries: Sequence[PolicySummary]) -> PolicySummary | None:
    """The guided method with the highest held-out score; a control only where there is nothing else."""
    rivals = contenders(results.methods)
    found = [summary for summary in summaries if summary.policy in rivals]
    return max(found, key=lambda summary: summary.overall[headline(results)].value, default=None)


def equal_tokens(results: Results, method: str) -> EqualTokens | None:
    """Of the run's own tokens, without what made its guides. None where tokens were not logged."""
    pairs = [(_curve(own), _curve(since(seed.runs[GRPO], first_step(own)))) for seed in results.seeds for own in [seed.runs[method]]]
    known = [(own, grpo) for own, grpo in pairs if own is not None and grpo is not None]
    if len(known) < len(pairs):
        return None
    budget = min(curve[0][-1] for pair in known for curve in pair)
    own, grpo = (fmean(float(np.interp(budget, *pair[i])) for pair in known) for i in (0, 1))
    return EqualTokens(float(budget), own, grpo)


def _curve(run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """Tokens sampled so far, and the smoothed training reward."""
    tokens = cumulative_tokens(run)
    return None if tokens is None else (tokens, ema(values(run, "reward/mean")))


def _same_steps(results: Results, summaries: Sequence[PolicySummary], best: PolicySummary) -> str:
    metric, found, count = headline(results), best.to_grpo_for_all, len(contenders(results.methods))
    assert found is not None
    assert best.training is not None
    score = f"held-out {metric} {numbers.score(best.overall[metric].value)}"
    ended = f"{wording.best_of(best.label, count)} ended at {score}, {numbers.difference(found)} against GRPO{_level(results, count)}"
    own, grpo = best.training.steps, max(steps(seed.runs[GRPO])[-1] + 1 for seed in results.seeds)
    return f"{wording.guidance_helped(found, wording.at_steps(own, grpo))}: {ended}."


def _level(results: Results, count: int) -> str:
    """Of the interval, where it is not that of the tables. Example: (97.5%, as the best of 2)."""
    return f" ({100 * for_all(results.settings.confidence, count):.3g}%, as the best of {count})" if count > 1 else ""


def _same_tokens(results: Results, best: PolicySummary) -> str:
    found = equal_tokens(results, best.policy)
    if found is None:
        return "At the same sampled tokens: unknown, since the runs did not log their tokens."
    return (
        f"At the same sampled tokens, where the probe and its guides exist anyway: after {numbers.count(round(found.tokens))} tokens the "
        f"training reward (smoothed; no held-out score) of {best.label} was {numbers.score(found.own)}, GRPO's {numbers.score(found.grpo)}."
    )


def _paid(results: Results, summaries: Sequence[PolicySummary], best: PolicySummary, costs: Costs | None) -> str:
    """Whoever starts from nothing also pays for the probe and the guides."""
    ratio, spent = (tokens_over_grpo(costs, best.policy), total_tokens(costs, best.policy)) if costs else (None, None)
    if ratio is None and spent is not None:
        return f"With all that was sampled for it here it took {numbers.count(round(spent))} tokens; how many GRPO took is not on record."
    if ratio is None or spent is None:
        return "Starting from nothing, with probe and guides paid for: unknown, since not all of their tokens are on record."
    paid = f"Starting from nothing, probe and guides paid for, it took {numbers.count(round(spent))} tokens, {ratio:.2f} times GRPO's"
    long = next((summary for summary in summaries if summary.policy == LONG), None)
    if best.policy == LONG or (long is None and ratio > 1):
        return f"{paid}; GRPO was not run for as many, so which is better at that price is open (the method {LONG} tells)."
    if long is None:
        return f"{paid}: no more than GRPO."
    metric, theirs = headline(results), tokens_over_grpo(costs, LONG) if costs else None
    share = f" with {theirs / ratio:.0%} of these tokens" if theirs else ""
    gap = best.overall[metric].value - long.overall[metric].value
    return f"{paid}; longer GRPO{share} ended at {numbers.score(long.overall[metric].value)}: {best.label} is {gap:+.3f} against that."


def _as_cheap(results: Results, summaries: Sequence[PolicySummary], best: PolicySummary, costs: Costs | None) -> list[str]:
    """The best of those that took about GRPO's tokens in all, where another is the best of all: ends at about equal tokens."""
    rivals = [summary for summary in summaries if summary.policy in contenders(results.methods)]
    ratios = {summary.policy: tokens_over_grpo(costs, summary.policy) for summary in rivals} if costs else {}
    found = best_method(results, [s for s in rivals if (ratio := ratios.get(s.policy)) is not None and 1 / AS_CHEAP <= ratio <= AS_CHEAP])
    if found is None or found == best:
        return []
    metric, gain, ratio = headline(results), found.to_grpo_for_all, ratios[found.policy]
    assert gain is not None
    helped = wording.guidance_helped(gain, "for about as many tokens as GRPO's own, probe and guides paid for")
    ended = f"{found.label} ended at held-out {metric} {numbers.score(found.overall[metric].value)}"
    against = f"{numbers.difference(gain)} against GRPO{_level(results, len(rivals))}"
    return [f"{helped}: {ended}, {against}, for {ratio:.2f} times its tokens."]


def total_tokens(costs: Costs, policy: str) -> float | None:
    """Of the run and all it needs, mean over seeds; None where something was not logged."""
    found = [seed[policy].total.tokens for seed in costs]
    known = [tokens for tokens in found if tokens is not None]
    return fmean(known) if known and len(known) == len(found) else None


def tokens_over_grpo(costs: Costs, policy: str) -> float | None:
    own, grpo = total_tokens(costs, policy), total_tokens(costs, GRPO)
    return own / grpo if own is not None and grpo else None
