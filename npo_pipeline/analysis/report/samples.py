"""Which evaluated responses a report shows: a mix of right and wrong ones, the same on every run."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npo_pipeline.analysis.report.thumbnails import Thumbnail, Thumbnails
from npo_pipeline.analysis.results import Evaluation, Results, policy_label
from npo_pipeline.records import Problem
from npo_pipeline.shown import spelt

LONGEST = 4000  # characters of a prompt or response that are shown


@dataclass(frozen=True)
class Sample:
    """One response as the report shows it; texts are still hostile, and escaped by the template."""

    problem_id: str
    difficulty: str
    prompt: str
    response: str
    answer: str
    verified: bool
    cut_off: bool  # the response hit the length limit
    images: tuple[Thumbnail, ...]  # of those that the prompt shows
    more_images: int  # that are not shown


def choose_samples(results: Results, count: int) -> dict[str, list[Sample]]:
    """Up to `count` responses per policy of the first seed, by the policy's label."""
    first, thumbnails = results.seeds[0], Thumbnails()
    return {policy_label(policy): _policy_samples(results, first.evaluations[policy], count, thumbnails) for policy in results.policies}


def _policy_samples(results: Results, evaluation: Evaluation, count: int, thumbnails: Thumbnails) -> list[Sample]:
    chosen = mixed(evaluation.trajectories, count)
    return [_sample(results.problems[row["problem_id"]], row, thumbnails) for row in chosen if row["problem_id"] in results.problems]


def mixed(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """One response per problem, half of them right where there are enough, in an order that favours no problem.

    The order is that of a hash of the problem id, so that policies show the same problems where they can.
    """
    ordered = sorted(rows, key=lambda row: (_shuffle(row["problem_id"]), row["sample_index"]))
    picked: dict[str, Mapping[str, Any]] = {}
    right, wrong = ([row for row in ordered if row["verified"] is verdict] for verdict in (True, False))
    for pool, target in ((right, (count + 1) // 2), (wrong, count), (right, count)):
        for row in pool:
            if len(picked) < target:
                picked.setdefault(row["problem_id"], row)
    return sorted(picked.values(), key=lambda row: (not row["verified"], _shuffle(row["problem_id"])))


def _shuffle(problem_id: str) -> str:
    return hashlib.sha256(problem_id.encode()).hexdigest()


def _sample(problem: Problem, row: Mapping[str, Any], thumbnails: Thumbnails) -> Sample:
    images = thumbnails.of(problem.images)
    return Sample(
        problem_id=problem.problem_id,
        difficulty=problem.difficulty,
        prompt=visible(problem.prompt),
        response=visible(row["response_text"]),
        answer=visible(problem.answer),
        verified=row["verified"],
        cut_off=row["finish_reason"] == "length",
        images=images,
        more_images=len(problem.images) - len(images),
    )


def visible(text: str) -> str:
    """Text with control and direction characters spelt out, so that nothing hides or reorders it, and cut to a readable length."""
    shown = spelt(text[:LONGEST])
    return shown if len(text) <= LONGEST else f"{shown}\n[{len(text) - LONGEST} more characters]"
