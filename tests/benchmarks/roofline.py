"""The machine's own ceilings: how fast memory is read, and how fast matrices are multiplied, by torch, with the threads in use."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Roofline:
    """`bandwidth` in bytes per second of reading weights of the model's size; `peak` in flops per second of a large matmul."""

    bandwidth: float
    peak: float

    def seconds(self, read: float, flops: float) -> float:
        """The least time in which so much is read and computed."""
        return max(read / self.bandwidth, flops / self.peak)


def measure(read: int, dtype: torch.dtype, repeats: int = 5) -> Roofline:
    """`read` is how many bytes a decoding step reads again and again: small enough, they stay in the cache."""
    return Roofline(_bandwidth(read, dtype, repeats), _peak(dtype, repeats))


def _bandwidth(read: int, dtype: torch.dtype, repeats: int) -> float:
    """The fastest reader that torch has for the dtype: a matrix times a vector, as decoding one row does it, or a sum."""
    columns = 4096
    matrix = torch.randn(max(1, read // (columns * dtype.itemsize)), columns).to(dtype)
    vector = torch.randn(columns).to(dtype)
    times = max(1, 2**27 // matrix.nbytes)
    fastest = min(_fastest(work, times, repeats) for work in (lambda: matrix @ vector, lambda: matrix.sum()))
    return times * matrix.nbytes / fastest


def _peak(dtype: torch.dtype, repeats: int, size: int = 1024) -> float:
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    return 2 * 2 * size**3 / _fastest(lambda: a @ b, 2, repeats)


def _fastest(work: Callable[[], Tensor], times: int, repeats: int) -> float:
    """Seconds of CPU over threads, so that what else runs on the machine counts little; the fastest of some repeats."""
    work()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - began) / torch.get_num_threads())
    return min(found)
