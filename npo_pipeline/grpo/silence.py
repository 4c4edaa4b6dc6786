"""A run from which nothing is learnt although nothing fails: every reward is the same, so that every advantage is zero.

Mostly the answers are not found where `task.verifier.extract` looks for them, or the problems are all too hard or too easy.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

FIRST = 10  # steps after which a run says so

log = logging.getLogger(__name__)


class Silence:
    """Watches the first steps of a run that goes by `label`, of `steps` in all from where it was resumed; warns once."""

    def __init__(self, label: str, steps: int) -> None:
        self.label, self.first = label, min(FIRST, steps)
        self.rows: list[Mapping[str, Any]] = []

    def see(self, metrics: Mapping[str, Any]) -> None:
        if len(self.rows) == self.first:
            return
        self.rows.append(metrics)
        if len(self.rows) == self.first and (found := nothing_learnt(self.rows)):
            log.warning("%s: in its first %d steps %s. %s", self.label, self.first, found, ADVICE)


ADVICE = (
    "Look at response_text in its rollouts/: is the answer where task.verifier.extract looks for it, does the response end within "
    "sampling.max_new_tokens, and are there problems that the policy solves sometimes?"
)


def nothing_learnt(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """What the metrics of steps say of it, as half a sentence; None where rewards differ or weights change.

    Example: "nothing was rewarded in any step, and the gradient was zero throughout: the weights never changed".
    """
    rewards = [row.get("reward/mean") for row in rows]
    norms = [norm for row in rows if (norm := row.get("grad_norm")) is not None]
    still = "the gradient was zero throughout: the weights never changed" if norms and not any(norms) else None
    injected = sum(row.get("guide/injected") or 0 for row in rows)
    if not rows:
        return None
    if all(reward == 0 for reward in rewards):
        said = "nothing was rewarded in any step" + (f", other than {injected} guide trajectories that were injected" if injected else "")
    elif all(reward == 1 for reward in rewards):
        said = "every response was rewarded in every step"
    else:
        return still
    return f"{said}, and {still}" if still else said
