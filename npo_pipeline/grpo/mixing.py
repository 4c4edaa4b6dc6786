"""The mechanism of NPO: only the group's make-up changes (PAPER, NPO: the mechanism)."""

from collections.abc import Sequence

from npo_pipeline.records import Group, GuideTrajectory, Problem, Slot, Trajectory


def form_group(problem: Problem, sampled: Sequence[Trajectory]) -> Group:
    """The on-policy group of n sampled trajectories."""
    accuracy = sum(trajectory.verified for trajectory in sampled) / len(sampled)
    reward_mean = sum(trajectory.reward for trajectory in sampled) / len(sampled)
    return Group(problem, tuple(Slot(trajectory) for trajectory in sampled), accuracy, reward_mean)


def mix(group: Group, guide: GuideTrajectory | None, gate: float, corrected: bool) -> Group:
    """Replace the last slot by the guide trajectory if the group's own accuracy <= gate; else return the group unchanged.

    The group keeps its size, its own accuracy and its own mean reward. A guide trajectory that is not verified is refused.
    """
    if guide is None or group.accuracy > gate or not guide.trajectory.verified:
        return group
    slot = Slot(guide.trajectory, guide.guide_step, corrected)
    return Group(group.problem, (*group.slots[:-1], slot), group.accuracy, group.reward_mean)
