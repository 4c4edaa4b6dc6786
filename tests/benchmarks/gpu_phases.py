"""Seconds of the parts of a step, each until its device has done the work; and the device's own ceilings."""

import functools
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any


class Phases:
    """Seconds by name, of one step after the other."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.now: dict[str, float] = defaultdict(float)
        self.steps: list[dict[str, float]] = []

    def sync(self) -> None:
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, whose seconds count for `name`."""

        @functools.wraps(work)
        def timing(*given: Any, **named: Any) -> Any:
            self.sync()
            began = time.perf_counter()
            try:
                return work(*given, **named)
            finally:
                self.sync()
                self.now[name] += time.perf_counter() - began

        return timing

    def watch(self, owner: Any, method: str, name: str) -> None:
        setattr(owner, method, self.timed(name, getattr(owner, method)))

    def step(self, work: Callable[[], Any]) -> None:
        """One whole step, with the parts that it was made of."""
        self.now.clear()
        self.timed("step", work)()
        self.steps.append(dict(self.now))

    def means(self, warm: int) -> dict[str, float]:
        """Without the first `warm` steps, in which kernels are loaded and compiled."""
        kept = self.steps[warm:]
        return {name: sum(step.get(name, 0.0) for step in kept) / len(kept) for name in dict.fromkeys(key for step in kept for key in step)}


def peak_bytes(device: str) -> int:
    """The most that torch held on the GPU since it was asked to begin anew; on a CPU, the most that this process ever held."""
    import torch

    return torch.cuda.max_memory_allocated() if device == "cuda" else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def ceilings(device: str, smallest: bool) -> dict[str, Any]:
    """What the device can do at most: bfloat16 multiplications in a matrix product (TFLOP/s), and copying (TB/s, read and written)."""
    import torch

    side, count = (256, 2**20) if smallest else (8192, 2**30)
    phases, repeats = Phases(device), 3 if smallest else 20
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    source = torch.empty(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    for name, work in (("product", lambda: a @ b), ("copy", lambda: target.copy_(source))):
        work()
        phases.timed(name, lambda work=work: [work() for _ in range(repeats)])()
    flops, moved = 2 * side**3 * repeats / phases.now["product"], 2 * count * repeats / phases.now["copy"]
    return {"device": name_of(device), "product_tflops": flops / 1e12, "copy_tb": moved / 1e12}


def name_of(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "CPU"
