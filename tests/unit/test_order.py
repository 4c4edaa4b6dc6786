"""Problem order and seeds are pure functions of (seed, step, problem, slot)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.errors import DataError
from npo_pipeline.rollout.order import problem_batch, sample_seed


@given(st.integers(4, 40), st.integers(0, 5), st.integers(1, 4))
def test_an_epoch_shows_each_problem_at_most_once(size: int, seed: int, count: int):
    items, per_epoch = list(range(size)), size // count
    for epoch in range(3):
        seen = [item for step in range(per_epoch) for item in problem_batch(items, seed, epoch * per_epoch + step, count)]
        assert len(seen) == len(set(seen)) == per_epoch * count


def test_order_hangs_on_seed_and_step_only():
    items = list(range(50))
    assert problem_batch(items, 3, 17, 8) == problem_batch(items, 3, 17, 8)
    assert problem_batch(items, 3, 17, 8) != problem_batch(items, 4, 17, 8)
    assert problem_batch(items, 3, 0, 25) + problem_batch(items, 3, 1, 25) != problem_batch(items, 3, 2, 25) + problem_batch(
        items, 3, 3, 25
    )


def test_too_few_problems():
    with pytest.raises(DataError, match=r"grpo\.prompts_per_step=5"):
        problem_batch([1, 2], 0, 0, 5)


def test_seeds_differ_in_every_part():
    parts = ("rollout", 0, 1, "p", 2)
    others = [
        ("guide", 0, 1, "p", 2),
        ("rollout", 1, 1, "p", 2),
        ("rollout", 0, 2, "p", 2),
        ("rollout", 0, 1, "q", 2),
        ("rollout", 0, 1, "p", 3),
    ]
    seeds = {sample_seed(*part) for part in (parts, *others)}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**64 for seed in seeds)
