"""Joining the other processes of a run, where torchrun started several; torch is imported for no one else.

What ranks tell each other goes over gloo on the CPU as pickled Python objects: a few numbers, and trajectories, between processes
of one program. Files are never read like that. Gradients and weights go over FSDP2's own collectives (npo_pipeline.policy.sharded),
NCCL on GPUs.
"""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from npo_pipeline.distributed.ranks import Item, Ranks
from npo_pipeline.errors import PeerError

LOST = re.compile(r"gloo|NCCL|ProcessGroup|Connection (closed|reset)|Broken pipe|Timed out|TCPStore", re.IGNORECASE)


class ManyRanks(Ranks):
    """The processes of torch's default group."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def gather(self, value: Item) -> list[Item]:
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found


def is_one_of_many() -> bool:
    """Whether torchrun, or a launcher that sets the same variables, started this process with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(seconds: float) -> Iterator[Ranks]:
    """The ranks of this run, for as long as the block runs; a rank that keeps the others waiting for longer than `seconds` ends it.

    Raises PeerError where another process is gone.
    """
    if not is_one_of_many():
        yield Ranks()
        return
    import torch.distributed as dist

    _end_with_the_launcher()
    dist.init_process_group("cpu:gloo,cuda:nccl" if _has_gpu() else "gloo", timeout=timedelta(seconds=seconds))
    try:
        yield ManyRanks()
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or LOST.search(str(error))):
            raise
        raise PeerError(
            f"rank {dist.get_rank()} of {dist.get_world_size()}: another process of this run is gone, or kept it waiting for more than "
            f"{seconds:g} s ({str(error).strip().splitlines()[0][:160]}). The same command resumes from the last saved state"
        ) from error
    if "vllm" not in sys.modules:  # it has groups of its own, and takes all of them down when the process ends
        dist.destroy_process_group()


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _end_with_the_launcher() -> None:
    """Have the system send SIGTERM when the process that started this one is gone, so that no rank trains on alone."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
