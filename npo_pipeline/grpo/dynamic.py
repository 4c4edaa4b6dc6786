"""Dynamic sampling: groups that teach nothing make room for further problems (DAPO, arXiv 2503.14476, section 3.2).

A group whose rewards are all equal has no advantage. Once a method has mixed its guides in, each group that is still so is replaced by
one of a further problem: a round draws as many problems as groups are missing, until none is or `rounds` are over. Then the batch
is filled up with groups that teach nothing, so that its size, and with it the scale of the loss, never changes. What was replaced was
sampled and paid for: it is kept beside the batch, for the mistake pool and for the count of tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from npo_pipeline.records import Group, Problem

SampleGroups = Callable[[Sequence[Problem]], list[Group]]


@dataclass(frozen=True)
class Filled:
    """`kept` is the batch to train on, `replaced` what made room; `further` are the groups of the further problems, in either of them."""

    kept: Sequence[Group]
    replaced: Sequence[Group] = ()
    further: Sequence[Group] = ()
    rounds: int = 0


def teaches(group: Group) -> bool:
    """Whether its rewards differ, those of guides among them: otherwise every advantage is 0."""
    return len({slot.trajectory.reward for slot in group.slots}) > 1


def fill(groups: Sequence[Group], queue: Sequence[Problem], rounds: int, sample_groups: SampleGroups) -> Filled:
    """The batch of len(groups) groups, after up to `rounds` rounds of further problems from the front of `queue`."""
    seen, taken, size = list(groups), 0, len(groups)
    done = 0
    while done < rounds and taken < len(queue) and (missing := size - sum(map(teaches, seen))) > 0:
        drawn = queue[taken : taken + missing]
        seen, taken, done = seen + sample_groups(drawn), taken + len(drawn), done + 1
    order = sorted(range(len(seen)), key=lambda i: not teaches(seen[i]))  # stable: in the order in which they were sampled
    kept = sorted(order[:size])
    return Filled([seen[i] for i in kept], [seen[i] for i in sorted(order[size:])], seen[size:], done)
