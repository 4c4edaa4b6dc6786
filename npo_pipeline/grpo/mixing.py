"""The mechanism of NPO: only the group's make-up changes (PAPER, NPO: the mechanism); and RLEP's variant, which appends."""

from collections.abc import Sequence
from dataclasses import replace

from npo_pipeline.records import Group, GuideTrajectory, Problem, Ratio, Slot, Trajectory


def form_group(problem: Problem, sampled: Sequence[Trajectory]) -> Group:
    """The on-policy group of n sampled trajectories."""
    accuracy = sum(trajectory.verified for trajectory in sampled) / len(sampled)
    reward_mean = sum(trajectory.reward for trajectory in sampled) / len(sampled)
    return Group(problem, tuple(Slot(trajectory) for trajectory in sampled), accuracy, reward_mean)


def mix(group: Group, guide: GuideTrajectory | None, gate: float, ratio: Ratio, replaced: str = "last") -> Group:
    """Replace a slot by the guide trajectory if the group's own accuracy <= gate; else return the group unchanged.

    `replaced` is "last", whatever stands there, or "wrong": the last slot that is not verified. The group keeps its size, its own
    accuracy and its own mean reward. A guide trajectory that is not verified is refused.
    """
    if guide is None or group.accuracy > gate or not guide.trajectory.verified:
        return group
    place = len(group.slots) - 1 if replaced == "last" else last_wrong(group)
    return replace(group, slots=(*group.slots[:place], guide_slot(guide, ratio), *group.slots[place + 1 :]))


def finish(group: Group, own: Sequence[Trajectory], others: Sequence[Slot]) -> Group:
    """The group with the samples that were held back: the policy's own, which count with those before, then others', right or wrong."""
    sampled = form_group(group.problem, [*(slot.trajectory for slot in group.slots), *own])
    return replace(sampled, slots=(*sampled.slots, *others))


def last_wrong(group: Group) -> int:
    """The last slot that is not verified; the last of all where every one is. Example: right, wrong, right gives 1."""
    wrong = [place for place, slot in enumerate(group.slots) if not slot.trajectory.verified]
    return wrong[-1] if wrong else len(group.slots) - 1


def append(group: Group, guides: Sequence[GuideTrajectory], ratio: Ratio) -> Group:
    """Add verified trajectories behind the group's own slots (RLEP): the baseline is then over all of them."""
    return replace(group, slots=(*group.slots, *(guide_slot(guide, ratio) for guide in guides if guide.trajectory.verified)))


def guide_slot(guide: GuideTrajectory, ratio: Ratio) -> Slot:
    return Slot(guide.trajectory, "guide", guide.guide_step, ratio)
