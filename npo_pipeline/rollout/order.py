"""Which problems a step sees, and the seed of each sample: pure functions, so that every run over a seed sees the same.

The probe and each guided run meet the same problems at the same step, and a resumed run needs no saved random state.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np

from npo_pipeline.errors import DataError

Item = TypeVar("Item")

FURTHER = (0, 1)  # keeps this random stream apart from others of (seed, step)


def problem_batch(problems: Sequence[Item], seed: int, step: int, count: int) -> list[Item]:
    """The `count` different problems of a step: consecutive pieces of a fresh permutation per epoch.

    Raises DataError if there are fewer than `count` problems.
    """
    per_epoch = len(problems) // count
    if per_epoch == 0:
        raise DataError(
            f"prepare/problems.parquet: {len(problems)} training problems, but grpo.prompts_per_step={count}; lower it or give more"
        )
    epoch, position = divmod(step, per_epoch)
    order = _permutation(len(problems), seed, epoch)
    return [problems[i] for i in order[position * count : (position + 1) * count]]


def further_problems(problems: Sequence[Item], batch: Sequence[Item], seed: int, step: int, key: Callable[[Item], str]) -> list[Item]:
    """All problems that the step's `batch` does not hold, in the order in which they stand in for others: of (seed, step) alone."""
    taken = {key(item) for item in batch}
    order = np.random.default_rng([seed, step, *FURTHER]).permutation(len(problems))
    return [problems[i] for i in order if key(problems[i]) not in taken]


@lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(int(i) for i in np.random.default_rng([seed, epoch]).permutation(size))


def sample_seed(purpose: str, seed: int, step: int, problem_id: str, slot: int) -> int:
    """A 64-bit seed of one sample. `purpose` keeps roll-outs, guides and evaluation apart."""
    key = f"{purpose}/{seed}/{step}/{problem_id}/{slot}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
