"""The mistake pool: the prompts that the probe failed, and when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from npo_pipeline.records import Outcome


@dataclass(frozen=True)
class Segment:
    """The steps [start, end) at which the policy checkpoint `current_step` acted, as far as a guide looks back."""

    current_step: int
    start: int
    end: int


ROUNDING = 1e-6  # roll-outs keep accuracies in 32 bits, where 3 of 5 is a little more than 0.6


def mistake_pool(outcomes: Iterable[Outcome], start: int, end: int, gate: float) -> list[str]:
    """Problems with group accuracy <= gate at some step of [start, end), each once, in the order of their first failure."""
    failed = sorted((o for o in outcomes if start <= o.step < end and o.accuracy <= gate + ROUNDING), key=lambda o: o.step)
    return list(dict.fromkeys(outcome.problem_id for outcome in failed))


def segments(checkpoints: Iterable[int], guide_step: int, since: int) -> list[Segment]:
    """The current policies, of the run's `checkpoints`, that checkpoint `guide_step` may guide at steps from `since` on, oldest first.

    Example: checkpoints every 5, guide 20, since 8: current steps 5 ([8, 10)), 10 ([10, 15)) and 15 ([15, 20)).
    """
    kept: Sequence[int] = [step for step in checkpoints if step <= guide_step]
    found = [Segment(a, max(a, since), b) for a, b in zip(kept, [*kept[1:], guide_step], strict=True)]
    return [segment for segment in found if segment.start < segment.end]
