"""Micro-batches dealt to ranks: in each round every rank runs one, since the collectives of a sharded model want all of them.

The batches of all rows, in order of length, are dealt in turn, so that those of one round cost about the same. Where the last round
lacks some, their ranks run a dummy: its row is forwarded and counts for nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from npo_pipeline.policy.logprobs import micro_batches


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward and backward. Of a dummy none counts."""

    rows: list[int]
    dummy: bool = False


def deal(lengths: Sequence[tuple[int, int]], budget: int, rank: int, size: int) -> Iterator[MicroBatch]:
    """What `rank` of `size` runs of rows of (prompt, response) lengths: as many micro-batches as every other rank."""
    batches = list(micro_batches(lengths, budget))
    if size > 1:
        batches = _evened(lengths, batches, budget, size)
    for start in range(0, len(batches), size):
        dealt = batches[start : start + size]
        yield MicroBatch(dealt[rank]) if rank < len(dealt) else MicroBatch(dealt[0][:1], dummy=True)


def _evened(lengths: Sequence[tuple[int, int]], batches: list[list[int]], budget: int, size: int) -> list[list[int]]:
    """Cut anew with the smallest budget that needs no more rounds: a full last round, and like sizes."""
    wanted = -(-len(batches) // size) * size
    low, high = 1, budget
    while low < high:
        middle = (low + high) // 2
        if len(list(micro_batches(lengths, middle))) <= wanted:
            high = middle
        else:
            low = middle + 1
    return list(micro_batches(lengths, high))
