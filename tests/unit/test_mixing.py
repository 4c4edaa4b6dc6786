"""What a guide changes in a group, and what it does not."""

import pytest
import torch

from npo_pipeline.grpo.advantages import group_advantages
from npo_pipeline.grpo.mixing import append, form_group, mix
from npo_pipeline.records import GuideTrajectory, Problem, Trajectory

PROBLEM = Problem("train-000000", "train", "2+2", "4", "all", "2+2=", (5, 6))


def trajectory(index: int, right: bool) -> Trajectory:
    return Trajectory(PROBLEM.problem_id, index, (5, 6), (7, 1), (-0.5, -0.1), float(right), right, "stop", "4" if right else "5")


def group(rights: list[bool]):
    return form_group(PROBLEM, [trajectory(i, right) for i, right in enumerate(rights)])


GUIDE = GuideTrajectory(trajectory(0, True), 40)


def test_the_last_slot_is_replaced_and_the_groups_own_numbers_stay():
    before = group([False, True, False, False])
    after = mix(before, GUIDE, 0.6, "recorded")
    assert [slot.source for slot in after.slots] == ["on_policy"] * 3 + ["guide"]
    assert after.slots[-1].guide_step == 40
    assert after.slots[-1].ratio == "recorded"
    assert after.slots[:-1] == before.slots[:-1]
    assert (after.accuracy, after.reward_mean) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("rights", "place"),
    [([False, True, False, True], 2), ([True, True, False, True], 2), ([False] * 4, 3), ([True, False, False, False], 3)],
)
def test_a_wrong_sample_is_replaced_where_that_is_asked_for(rights: list[bool], place: int):
    before = group(rights)
    after = mix(before, GUIDE, 0.9, "policy", "wrong")
    assert [i for i, slot in enumerate(after.slots) if slot.source == "guide"] == [place]
    assert sum(slot.trajectory.verified for slot in after.slots) == sum(rights) + 1
    assert [slot for i, slot in enumerate(after.slots) if i != place] == [slot for i, slot in enumerate(before.slots) if i != place]
    assert (after.accuracy, after.reward_mean) == (before.accuracy, before.reward_mean)
    assert mix(before, GUIDE, 0.9, "policy", "last").slots[:3] == before.slots[:3]


def test_where_every_sample_is_right_the_last_one_is_replaced():
    assert mix(group([True, True]), GUIDE, 1.0, "policy", "wrong").slots[1].source == "guide"


@pytest.mark.parametrize(("rights", "mixed"), [([True] * 3 + [False] * 2, True), ([True] * 4 + [False], False), ([True] * 5, False)])
def test_the_gate_is_inclusive(rights: list[bool], mixed: bool):
    assert (mix(group(rights), GUIDE, 0.6, "policy").slots[-1].source == "guide") is mixed


def test_without_a_guide_or_with_a_wrong_one_the_group_stays():
    before = group([False, False])
    assert mix(before, None, 0.6, "policy") is before
    assert mix(before, GuideTrajectory(trajectory(0, False), 40), 0.6, "policy") is before


def test_an_all_wrong_group_gets_a_gradient_from_its_guide():
    after = mix(group([False] * 4), GUIDE, 0.6, "policy")
    advantages = group_advantages(torch.tensor([[slot.trajectory.reward for slot in after.slots]]), "std", 0.0)
    torch.testing.assert_close(advantages, torch.tensor([[-0.5, -0.5, -0.5, 1.5]]))
    assert after.accuracy == 0.0


def test_the_replaced_sample_still_counts_as_the_policys_own():
    assert mix(group([False, False, False, True]), GUIDE, 0.6, "policy").accuracy == 0.25


def test_appended_rows_join_the_baseline_and_leave_the_groups_own_numbers():
    before = group([False, True, False, False])
    after = append(before, [GUIDE, GUIDE], "policy")
    assert [slot.source for slot in after.slots] == ["on_policy"] * 4 + ["guide"] * 2
    assert after.slots[:4] == before.slots
    assert (after.accuracy, after.reward_mean) == (0.25, 0.25)
    advantages = group_advantages(torch.tensor([[slot.trajectory.reward for slot in after.slots]]), "mean", 0.0)
    torch.testing.assert_close(advantages, torch.tensor([[-0.5, 0.5, -0.5, -0.5, 0.5, 0.5]]))


def test_a_wrong_trajectory_is_not_appended():
    before = group([False, True])
    assert append(before, [GuideTrajectory(trajectory(0, False), 40)], "policy") == before
