"""Runs a stage as its command line does, and writes down where its main thread's time went.

    python tests/benchmarks/stage_spans.py SPANS.json STARTED npo_pipeline.stages.probe --config FILE ...

Functions are wrapped where the stages call them. A span inside a span counts for the inner one; what no span holds is Python and the
rest. STARTED is the time of day at which the process was asked for. What other threads did (a checkpoint being written) is `beside`.
"""

import atexit
import importlib
import json
import runpy
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any

SPANS = {
    "sampling": ["rollout.hf:TransformersEngine.generate"],
    "verification": ["tasks.judging.verify:Verifier.judge"],
    "forward/backward": [
        "grpo.update:Updater._backward",
        "grpo.update:Updater._measure",
        "grpo.update:Updater._reference_logprobs",
        "guidance.shards.make:score",
        "policy.cold_start:_accumulate",
    ],
    "optimizer": ["grpo.optimizer:PolicyOptimizer.step"],
    "roll-outs and metrics": [
        "grpo.step:step_metrics",
        "grpo.step:_rows",
        "storage.run_files:RunFiles.write_step",
        "storage.run_files:RunFiles.write_timings",
        "storage.run_files:RunFiles.finish",
        "guidance.shards.make:write_shards",
    ],
    "checkpoints and state": [
        "policy.checkpoints:CheckpointWriter.put",
        "grpo.loop:save_state",
        "grpo.loop:identity",
        "policy.checkpoints:identity",
        "policy.checkpoints:apply_delta",
        "policy.checkpoints:load_weights",
    ],
    "waiting for the disk": ["policy.checkpoints:CheckpointWriter.wait"],
}

WITHOUT_TORCH = ("plan", "report")  # nothing of the above is in these, and wrapping it would import torch


class Clock:
    """Seconds by the clock and of the main thread's CPU, by the innermost span that is open."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.open = ["start-up"]
        self.last = (time.perf_counter(), time.thread_time())
        self.main = threading.main_thread()

    def turn(self, name: str | None) -> None:
        """Into a span, or with None out of it."""
        now = (time.perf_counter(), time.thread_time())
        for i in range(2):
            self.seconds[self.open[-1]][i] += now[i] - self.last[i]
        self.last = now
        if name is None:
            self.open.pop()
        elif self.open == ["start-up"]:
            self.open = ["Python and the rest", name]
        else:
            self.open.append(name)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inside(*arguments: Any, **named: Any) -> Any:
            if threading.current_thread() is not self.main:
                return function(*arguments, **named)
            self.turn(name)
            try:
                return function(*arguments, **named)
            finally:
                self.turn(None)

        return inside


def install(clock: Clock) -> None:
    for name, places in SPANS.items():
        for place in places:
            module, _, path = place.partition(":")
            owner: Any = importlib.import_module(f"npo_pipeline.{module}")
            *parents, last = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            setattr(owner, last, clock.wrap(name, getattr(owner, last)))


def main() -> None:
    spans, started, module = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    clock = Clock()
    clock.seconds["start-up"][0] = time.time() - started  # of the interpreter, before anything could be counted
    if module.rpartition(".")[2] not in WITHOUT_TORCH:
        install(clock)
    sys.argv = sys.argv[3:]

    def tell() -> None:
        clock.turn("end")
        beside = time.process_time() - time.thread_time()
        with open(spans, "w", encoding="utf-8") as stream:
            json.dump({"seconds": clock.seconds, "beside": beside}, stream)

    atexit.register(tell)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
