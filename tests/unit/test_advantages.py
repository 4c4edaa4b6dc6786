"""Group advantages against hand-worked numbers and float64 brute force."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.grpo.advantages import group_advantages

rewards = st.lists(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=4, max_size=4), min_size=1, max_size=6)


def brute_force(group: list[float], kind: str, eps: float) -> list[float]:
    mean = sum(group) / len(group)
    if len(set(group)) == 1:
        return [0.0] * len(group)
    std = math.sqrt(sum((r - mean) ** 2 for r in group) / (len(group) - 1))
    return [(r - mean) / (std + eps if kind == "std" else 1.0) for r in group]


def test_one_of_four_correct_by_hand():
    # mean 1/4; sample variance (3/4)^2/3 + 3 (1/4)^2/3 = 1/4, so std 1/2: advantages 1.5 and -0.5.
    found = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), "std", 0.0)
    torch.testing.assert_close(found, torch.tensor([[1.5, -0.5, -0.5, -0.5]]))


def test_mean_only_by_hand():
    found = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), "mean", 1e-4)
    torch.testing.assert_close(found, torch.tensor([[0.75, -0.25, -0.25, -0.25]]))


@given(rewards, st.sampled_from(["std", "mean"]))
def test_equals_brute_force(groups: list[list[float]], kind: str):
    found = group_advantages(torch.tensor(groups), kind, 1e-4)
    expected = torch.tensor([brute_force(group, kind, 1e-4) for group in groups], dtype=torch.float64)
    torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=2e-6)


@given(rewards, st.permutations(range(4)))
def test_a_groups_order_and_its_neighbours_do_not_matter(groups: list[list[float]], order: list[int]):
    alone = group_advantages(torch.tensor([[groups[0][i] for i in order]]), "std", 1e-4)[0]
    together = group_advantages(torch.tensor(groups), "std", 1e-4)[0]
    torch.testing.assert_close(alone, together[order])


@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["std", "mean"])
def test_equal_rewards_give_exactly_zero(reward: float, kind: str):
    assert group_advantages(torch.full((2, 7), reward), kind, 1e-4).abs().max() == 0.0
